// Runs a scenario: its steps with their cgroups, workers and operations.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include <vector>

#include "guest/agent/cgroups.h"
#include "guest/agent/channel.h"
#include "guest/agent/supervisor.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

class Runner {
 public:
  // Called once, when the workers of the first step that has any have been started.
  using Hook = std::function<void(const std::vector<pid_t>& workers)>;

  Runner(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
         Hook hook = {});

  // Posts scenarioStarted, the events of each step, scenarioEnded. Ends early, but with every worker's
  // report, when the supervisor wants it cut short. What goes wrong with a step is posted as a failure and
  // ends the scenario.
  void run();

 private:
  // Posts what is thrown, and remembers it: no further step.
  void attempt(uint32_t step, const std::function<void()>& part);
  void runStep(uint32_t index, rpc::Step::Reader step);
  void act(uint32_t index, rpc::Step::Reader step, Workers& workers);
  void startStep(uint32_t index, rpc::Step::Reader step, Workers& workers);
  void applyOp(uint32_t stepIndex, uint32_t opIndex, rpc::Op::Reader op, Workers& workers);
  void applyCpuset(const std::string& cgroup);
  void stopWorkers(Workers& workers, const std::optional<std::string>& cgroup);
  void hold(uint64_t milliseconds);

  rpc::GuestOrders::Reader orders_;
  Channel& channel_;
  Supervisor& supervisor_;
  Cgroups& cgroups_;
  Hook hook_;
  unsigned nextCpuset_ = 0;  // in orders.cpusets
  bool failed_ = false;      // a step could not be carried out
  bool unkillable_ = false;  // a worker did not even end when killed
};

}  // namespace ktstr::agent
