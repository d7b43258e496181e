// A walk through a scenario in the order in which the guest carries it out. Validation is a walk; so is
// resolution.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "guest/scenario/cgroup_model.h"
#include "guest/scenario/checks.h"

namespace ktstr {

// CPUs a walk has come to, in use order (report.capnp ResolvedCpuset, ResolvedAffinity). `op` is -1 for a
// CgroupDef.
struct CpusetUse {
  uint32_t step;
  std::string cgroup;
  int32_t op;
  Cpus cpus;  // empty: inherit
};
struct AffinityUse {
  uint32_t step;
  std::string cgroup, work;
  int32_t op;
  std::vector<Cpus> cpus;
  bool operator==(const AffinityUse&) const = default;
};

class ScenarioWalk {
 public:
  // `underScheduler`: whether one is attached when the scenario starts; nothing: not known.
  ScenarioWalk(rpc::Scenario::Reader scenario, const Topology& topology, std::optional<bool> underScheduler);

  // Throws Error "scenario-invalid" as validateScenario().
  void run();

  const std::vector<CpusetUse>& cpusets() const { return cpusets_; }
  const std::vector<AffinityUse>& affinities() const { return affinities_; }

 private:
  struct Payload {
    uint32_t step;
    std::string cgroup;
    bool ended = false;
  };

  void checkSchedulers() const;
  void walkBackdrop();
  void walkStep(uint32_t index);
  void walkCgroups(const std::string& place, capnp::List<rpc::CgroupDef>::Reader cgroups);
  void walkCgroup(const std::string& place, rpc::CgroupDef::Reader cgroup);
  void walkWork(const std::string& place, const std::string& cgroup, rpc::WorkSpec::Reader work,
                rpc::CgroupDef::Reader defaults, int32_t op);
  std::vector<Cpus> affinityOf(const std::string& place, rpc::WorkSpec::Reader work, int32_t numaNode,
                               const Cpus& allowed) const;
  void checkDeadline(const std::string& place, const Cpus& allowed, const std::vector<Cpus>& affinity) const;
  void walkOps(const std::string& place, capnp::List<rpc::Op>::Reader ops);
  void walkLoop(const std::string& place, rpc::Step::Reader step);
  void requireWorkers(const std::string& place) const;

  void walkOp(const std::string& place, int32_t index, rpc::Op::Reader op);
  void walkSetCpuset(const std::string& place, int32_t index, rpc::Op::SetCpuset::Reader op);
  void walkSwapCpusets(const std::string& place, rpc::Op::SwapCpusets::Reader op);
  void walkSetAffinity(const std::string& place, int32_t index, rpc::Op::SetAffinity::Reader op);
  void walkMove(const std::string& place, rpc::Op::MoveAllTasks::Reader op);
  void walkRunPayload(const std::string& place, rpc::Payload::Reader payload);
  void walkWaitPayload(const std::string& place, rpc::Op::WaitPayload::Reader op);
  Payload& running(const std::string& place, const std::string& name);
  void endPayload(Payload& payload);
  void endPayloadsOf(const std::string& cgroup);
  void walkWatch(const std::string& place, std::string_view expression);
  void walkWriteMap(const std::string& place, capnp::List<capnp::Text>::Reader writes);
  void walkScheduler(const std::string& place, rpc::Op::Reader op);
  void requireScheduler(const std::string& place, std::string_view name) const;

  rpc::Scenario::Reader scenario_;
  const Topology& topology_;
  CgroupModel model_;
  uint32_t step_ = 0;
  bool inLoop_ = false;
  std::set<std::tuple<uint32_t, std::string, std::string>> works_;  // step, cgroup, name
  std::map<std::string, Payload> payloads_;
  uint32_t watches_ = 0;
  size_t mapWrites_ = 0;
  uint64_t workers_ = 0;  // ever
  std::optional<bool> underTest_, attached_;
  std::vector<CpusetUse> cpusets_;
  std::vector<AffinityUse> affinities_;
};

}  // namespace ktstr
