// Runs a scenario: its backdrop and its steps; if it is to be compared with EEVDF, twice.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "guest/agent/channel.h"
#include "guest/agent/operations.h"
#include "guest/agent/stage.h"
#include "guest/agent/supervisor.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

enum class Pass { scenario, baseline };

class Runner {
 public:
  // Called once, when the workers of the first step that has any have been started.
  using Hook = std::function<void(const std::vector<pid_t>& workers)>;

  Runner(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
         Pass pass, Hook hook = {});

  // Posts scenarioStarted, the events of the backdrop and of each step, scenarioEnded; the baseline's begin
  // with baselineStarted, and nothing ends them. Ends early, but with every worker's report, when the
  // supervisor wants it cut short. What goes wrong is posted as a failure and ends the scenario. Whether it
  // came to its end.
  bool run();

 private:
  // Posts what is thrown, and remembers it: no further step.
  void attempt(uint32_t step, const std::function<void()>& part);
  bool cut() const { return failed_ || stage_.broken() || supervisor_.cutShort(); }
  void start(uint32_t step, capnp::List<rpc::CgroupDef>::Reader cgroups);
  void end(uint32_t step);
  void runStep(uint32_t index, rpc::Step::Reader step);
  void applyOps(uint32_t step, capnp::List<rpc::Op>::Reader ops);
  void loop(uint32_t index, rpc::Step::Reader step);
  void hold(uint64_t milliseconds);
  uint64_t share(double fraction) const;  // of the scenario's duration, in ms

  rpc::GuestOrders::Reader orders_;
  Channel& channel_;
  Supervisor& supervisor_;
  Pass pass_;
  Stage stage_;
  Operations operations_;
  Hook hook_;
  bool failed_ = false;  // a step could not be carried out
};

// The scenario under what runs now, and with orders.baseline once more after the scheduler was detached.
// Throws Failure schedulerNotDetached.
void runPasses(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
               Runner::Hook hook);

}  // namespace ktstr::agent
