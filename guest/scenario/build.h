// Saying scenarios in C++: values that write themselves into a message. They add nothing to
// protocol/scenario.capnp, where every field is explained; what a field is not given keeps the schema's
// default. Work has its own part, guest/scenario/build_work.h.
//
//   Scenario("halves", "a spinner on each half")
//       .step(Step("run").cgroup(Cgroup("left").cpuset(part(0, 2)).work(spinWait(2)))
//                        .cgroup(Cgroup("right").cpuset(part(1, 2)).work(bursty(2, 50'000, 100'000))))
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "guest/scenario/build_work.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::say {

using Cpuset = Fill<rpc::CpusetSpec>;
Cpuset parentCpus();
Cpuset llc(uint32_t number);
Cpuset numa(uint32_t node);
Cpuset range(double start, double end);
Cpuset part(uint32_t index, uint32_t of);
Cpuset overlap(uint32_t index, uint32_t of, double fraction);
Cpuset cpus(const Numbers& numbers);

using Limits = Fill<rpc::CgroupLimits>;

class Cgroup : public Identified<rpc::CgroupDef, Cgroup> {
 public:
  explicit Cgroup(const std::string& name);
  Cgroup& cpuset(const Cpuset& cpuset);
  Cgroup& cpusetMems(const Numbers& nodes);
  Cgroup& limits(const Limits& limits);
  Cgroup& work(Work work);
  void write(rpc::CgroupDef::Builder to) const;

 private:
  std::vector<Work> work_;
};

using Op = Fill<rpc::Op>;
Op addCgroup(const std::string& name);
Op removeCgroup(const std::string& name);
Op stopCgroup(const std::string& name);
Op freezeCgroup(const std::string& name);
Op unfreezeCgroup(const std::string& name);
Op setCpuset(const std::string& cgroup, const Cpuset& cpuset);
Op clearCpuset(const std::string& cgroup);
Op swapCpusets(const std::string& a, const std::string& b);
Op setLimits(const std::string& cgroup, const Limits& limits);
Op spawn(const std::string& cgroup, const Work& work);  // "": outside of all cgroups
Op setAffinity(const std::string& cgroup, const Affinity& affinity);
Op moveAllTasks(const std::string& from, const std::string& to);
Op sleepMs(uint32_t milliseconds);
// A program of the host, packed with its libraries, in a cgroup or outside of all; how it ends is judged.
Op runPayload(const std::string& name, const std::string& binary, const std::vector<std::string>& args = {},
              const std::string& cgroup = "", uint8_t exitCode = 0);
Op waitPayload(const std::string& name, uint32_t timeoutMs = 60'000);
Op killPayload(const std::string& name);
// "": the one under test; else a name that Scenario::scheduler() declares.
Op attachScheduler(const std::string& name = "");
Op detachScheduler();
Op replaceScheduler(const std::string& name = "");
// MAP:PLACE=VALUE each, into the attached scheduler's BPF maps, all or none: the host writes them at that
// moment.
Op writeMap(const std::vector<std::string>& writes);
Op snapshot(const std::string& name);     // of the scheduler's state; RunResult::snapshot(name)
Op watch(const std::string& expression);  // as `ktstr-monitor watch`: each change becomes a snapshot

using Hold = Fill<rpc::HoldSpec>;
Hold fraction(double ofDuration);
Hold fixedMs(uint32_t milliseconds);
Hold loop(uint32_t intervalMs, double ofDuration);

class Step : public Filled<rpc::Step, Step> {
 public:
  explicit Step(const std::string& name);
  Step& cgroup(Cgroup cgroup);
  Step& op(Op op);
  Step& hold(const Hold& hold);  // else all of the scenario's duration
  void write(rpc::Step::Builder to) const;

 private:
  std::vector<Cgroup> cgroups_;
  std::vector<Op> ops_;
};

class Scenario : public Filled<rpc::Scenario, Scenario> {
 public:
  Scenario(const std::string& name, const std::string& description);
  Scenario& durationMs(uint32_t milliseconds);
  Scenario& snapshots(uint32_t number);
  Scenario& step(Step step);
  Scenario& backdrop(Cgroup cgroup);  // lives across all steps
  Scenario& backdropOp(Op op);
  // One that operations attach by this name; the binary as `ktstr run --scheduler` takes it.
  Scenario& scheduler(const std::string& name, const std::string& binary,
                      const std::vector<std::string>& args = {});
  Scenario& assertions(const Fill<rpc::Assertions>& assertions);
  void write(rpc::Scenario::Builder to) const;

 private:
  std::vector<Step> steps_;
  std::vector<Cgroup> backdrop_;
  std::vector<Op> backdropOps_;
  std::vector<Fill<rpc::SchedulerDef>> schedulers_;
};

}  // namespace ktstr::say
