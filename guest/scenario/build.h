// Saying scenarios in C++: values that write themselves into a message. They add nothing to
// protocol/scenario.capnp, where every field is explained; what a field is not given keeps the schema's
// default.
//
//   Scenario("halves", "a spinner on each half")
//       .step(Step("run").cgroup(Cgroup("left").cpuset(part(0, 2)).work(spinWait(2)))
//                        .cgroup(Cgroup("right").cpuset(part(1, 2)).work(bursty(2, 50'000, 100'000))))
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/scenario.capnp.h"

namespace ktstr::say {

// Writes some of a struct's fields.
template <typename T>
using Fill = std::function<void(typename T::Builder)>;

// A struct as what is to be written into it, in order.
template <typename T, typename Self>
class Filled {
 public:
  Self& set(Fill<T> fill) {
    fills_.push_back(std::move(fill));
    return static_cast<Self&>(*this);
  }
  void write(typename T::Builder to) const {
    for (const auto& fill : fills_) fill(to);
  }

 private:
  std::vector<Fill<T>> fills_;
};

using Cpuset = Fill<rpc::CpusetSpec>;
Cpuset llc(uint32_t number);
Cpuset numa(uint32_t node);
Cpuset range(double start, double end);
Cpuset part(uint32_t index, uint32_t of);
Cpuset overlap(uint32_t index, uint32_t of, double fraction);
Cpuset cpus(std::vector<uint32_t> numbers);

using Affinity = Fill<rpc::AffinityIntent>;
Affinity anywhere();
Affinity oneCpu();
Affinity oneLlc();
Affinity acrossCgroups();
Affinity onCpus(std::vector<uint32_t> numbers);
Affinity randomCpus(uint32_t count, uint64_t seed = 1);

using Policy = Fill<rpc::SchedPolicy>;
Policy batchPolicy();
Policy idlePolicy();
Policy fifoPolicy(uint32_t priority);
Policy rrPolicy(uint32_t priority);

class Work : public Filled<rpc::WorkSpec, Work> {
 public:
  Work(uint32_t workers, const Fill<rpc::WorkType>& type);
  Work& name(const std::string& name);
  Work& affinity(const Affinity& affinity);
  Work& policy(const Policy& policy);
  Work& nice(int8_t value);
  Work& threads();  // of one process
};

// Those with parameters of their own, by their defaults unless given.
Work spinWait(uint32_t workers, uint32_t spinIters = 1024);
Work yieldHeavy(uint32_t workers);
Work mixed(uint32_t workers, uint32_t spinIters = 1024);
Work bursty(uint32_t workers, uint32_t burstUs, uint32_t sleepUs);
Work pipeIo(uint32_t workers, uint32_t burstIters = 1024);
Work ioSyncWrite(uint32_t workers);
// A function declared with KTSTR_WORK, of this program unless another is named.
Work custom(uint32_t workers, const std::string& function, const std::string& program = "");

class Cgroup {
 public:
  explicit Cgroup(std::string name) : name_(std::move(name)) {}
  Cgroup& cpuset(Cpuset cpuset);
  Cgroup& limits(Fill<rpc::CgroupLimits> limits);
  Cgroup& work(Work work);
  void write(rpc::CgroupDef::Builder to) const;

 private:
  std::string name_;
  Cpuset cpuset_;
  Fill<rpc::CgroupLimits> limits_;
  std::vector<Work> work_;
};

using Op = Fill<rpc::Op>;
Op addCgroup(const std::string& name);
Op removeCgroup(const std::string& name);
Op stopCgroup(const std::string& name);
Op setCpuset(const std::string& cgroup, const Cpuset& cpuset);
Op clearCpuset(const std::string& cgroup);
Op swapCpusets(const std::string& a, const std::string& b);
Op spawn(const std::string& cgroup, const Work& work);  // "": outside of all cgroups
Op setAffinity(const std::string& cgroup, const Affinity& affinity);
Op moveAllTasks(const std::string& from, const std::string& to);
Op sleepMs(uint32_t milliseconds);
// A program of the host, packed with its libraries, in a cgroup or outside of all; how it ends is judged.
Op runPayload(const std::string& name, const std::string& binary, const std::vector<std::string>& args = {},
              const std::string& cgroup = "");
Op waitPayload(const std::string& name, uint32_t timeoutMs = 60'000);
Op killPayload(const std::string& name);
Op attachScheduler(const std::string& name = "");
Op detachScheduler();
// MAP:PLACE=VALUE each, into the attached scheduler's BPF maps, all or none: the host writes them at that
// moment.
Op writeMap(const std::vector<std::string>& writes);
Op watch(const std::string& expression);  // as `ktstr-monitor watch`: each change becomes a snapshot

using Hold = Fill<rpc::HoldSpec>;
Hold fraction(double ofDuration);
Hold fixedMs(uint32_t milliseconds);
Hold loop(uint32_t intervalMs, double ofDuration);

class Step {
 public:
  explicit Step(std::string name) : name_(std::move(name)) {}
  Step& cgroup(Cgroup cgroup);
  Step& op(Op op);
  Step& hold(Hold hold);  // else all of the scenario's duration
  void write(rpc::Step::Builder to) const;

 private:
  std::string name_;
  std::vector<Cgroup> cgroups_;
  std::vector<Op> ops_;
  Hold hold_;
};

class Scenario {
 public:
  Scenario(std::string name, std::string description)
      : name_(std::move(name)), description_(std::move(description)) {}
  Scenario& durationMs(uint32_t milliseconds);
  Scenario& step(Step step);
  Scenario& backdrop(Cgroup cgroup);  // lives across all steps
  Scenario& backdropOp(Op op);
  Scenario& assertions(Fill<rpc::Assertions> assertions);
  void write(rpc::Scenario::Builder to) const;

 private:
  std::string name_, description_;
  uint32_t durationMs_ = 0;
  std::vector<Step> steps_;
  std::vector<Cgroup> backdrop_;
  std::vector<Op> backdropOps_;
  Fill<rpc::Assertions> assertions_;
};

}  // namespace ktstr::say
