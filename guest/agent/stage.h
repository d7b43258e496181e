// What a scenario has in the guest at any time: cgroups, workers, payloads. The runner and its operations act
// on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/agent/cgroups.h"
#include "guest/agent/payloads.h"
#include "guest/agent/progress.h"
#include "guest/agent/supervisor.h"
#include "guest/agent/workers.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

class Stage {
 public:
  // `baseline`: as its workers' reports have it.
  Stage(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
        bool baseline);
  ~Stage();

  // A cgroup of `step` with its settings and workers, which wait for workers.go(). Throws Failure.
  void make(uint32_t step, rpc::CgroupDef::Reader definition);
  // More of it, likewise.
  void spawn(uint32_t step, int32_t op, const std::string& cgroup, rpc::WorkSpec::Reader work);
  void removeCgroup(const std::string& path);
  // What the host resolved for this place; Failure ordersInvalid if it resolved nothing.
  void setCpuset(uint32_t step, int32_t op, const std::string& cgroup);
  uint32_t setAffinity(uint32_t step, int32_t op, const std::string& cgroup);
  uint32_t moveTasks(const std::string& from, const std::string& to);

  // Stops workers and posts their reports, kills payloads; thaws first. Of a cgroup, or what ends with a
  // step.
  void stopCgroup(const std::string& path);
  // Also removes the step's cgroups. Failures are thrown after all that can be done is done.
  void endStep(uint32_t step);

  // How far the workers have come now. The events that change something carry it as well.
  ProgressReading progress() const { return looping ? ProgressReading{} : readProgress(workers.all()); }
  // Operations go round and round: nothing is read for each of them.
  bool looping = false;

  // A worker could not be set up, or not even be killed: the scenario must end.
  bool broken() const { return workers.broken() || unkillable_; }

  Cgroups& cgroups;
  Workers workers;
  Payloads payloads;

 private:
  Assignment assign(uint32_t step, int32_t op, const std::string& cgroup, rpc::WorkSpec::Reader work,
                    rpc::CgroupDef::Reader defaults);
  void stop(const Workers::Choice& ofWorkers, const Payloads::Choice& ofPayloads);
  std::vector<std::vector<uint32_t>> affinities(uint32_t step, int32_t op, const std::string& cgroup,
                                                const std::string& work) const;

  rpc::GuestOrders::Reader orders_;
  Channel& channel_;
  Supervisor& supervisor_;
  bool unkillable_ = false;
};

}  // namespace ktstr::agent
