#include "guest/scenario/build.h"

namespace ktstr::say {
namespace {

template <typename List>
void put(List list, const std::vector<uint32_t>& numbers) {
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, numbers[i]);
}

// Each of `parts` into its place of the list that `init` makes.
template <typename Parts, typename Init>
void writeAll(const Parts& parts, Init init) {
  auto list = init(static_cast<unsigned>(parts.size()));
  for (unsigned i = 0; i < list.size(); ++i) parts[i].write(list[i]);
}

template <typename Init>
void writeOps(const std::vector<Op>& ops, Init init) {
  auto list = init(static_cast<unsigned>(ops.size()));
  for (unsigned i = 0; i < list.size(); ++i) ops[i](list[i]);
}

}  // namespace

// ---- cpusets

Cpuset llc(uint32_t number) {
  return [=](auto to) { to.setLlc(number); };
}
Cpuset numa(uint32_t node) {
  return [=](auto to) { to.setNuma(node); };
}
Cpuset range(double start, double end) {
  return [=](auto to) {
    auto range = to.initRange();
    range.setStart(start);
    range.setEnd(end);
  };
}
Cpuset part(uint32_t index, uint32_t of) {
  return [=](auto to) {
    auto disjoint = to.initDisjoint();
    disjoint.setIndex(index);
    disjoint.setOf(of);
  };
}
Cpuset overlap(uint32_t index, uint32_t of, double fraction) {
  return [=](auto to) {
    auto overlap = to.initOverlap();
    overlap.setIndex(index);
    overlap.setOf(of);
    overlap.setFraction(fraction);
  };
}
Cpuset cpus(std::vector<uint32_t> numbers) {
  return [numbers = std::move(numbers)](auto to) {
    put(to.initExact(static_cast<unsigned>(numbers.size())), numbers);
  };
}

// ---- affinities and policies

Affinity anywhere() {
  return [](auto to) { to.setInherit(); };
}
Affinity oneCpu() {
  return [](auto to) { to.setSingleCpu(); };
}
Affinity oneLlc() {
  return [](auto to) { to.setLlcAligned(); };
}
Affinity acrossCgroups() {
  return [](auto to) { to.setCrossCgroup(); };
}
Affinity onCpus(std::vector<uint32_t> numbers) {
  return [numbers = std::move(numbers)](auto to) {
    put(to.initExact(static_cast<unsigned>(numbers.size())), numbers);
  };
}
Affinity randomCpus(uint32_t count, uint64_t seed) {
  return [=](auto to) {
    auto subset = to.initRandomSubset();
    subset.setCount(count);
    subset.setSeed(seed);
  };
}

Policy batchPolicy() {
  return [](auto to) { to.setBatch(); };
}
Policy idlePolicy() {
  return [](auto to) { to.setIdle(); };
}
Policy fifoPolicy(uint32_t priority) {
  return [=](auto to) { to.setFifo(priority); };
}
Policy rrPolicy(uint32_t priority) {
  return [=](auto to) { to.setRr(priority); };
}

// ---- work

Work::Work(uint32_t workers, const Fill<rpc::WorkType>& type) {
  set([=](auto to) {
    to.setWorkers(workers);
    type(to.initType());
  });
}
Work& Work::name(const std::string& name) {
  return set([=](auto to) { to.setName(name); });
}
Work& Work::affinity(const Affinity& affinity) {
  return set([=](auto to) { affinity(to.initAffinity()); });
}
Work& Work::policy(const Policy& policy) {
  return set([=](auto to) { policy(to.initPolicy()); });
}
Work& Work::nice(int8_t value) {
  return set([=](auto to) { to.setNice(value); });
}
Work& Work::threads() {
  return set([](auto to) { to.setCloneMode(rpc::CloneMode::THREAD); });
}

Work spinWait(uint32_t workers, uint32_t spinIters) {
  return {workers, [=](auto type) { type.initSpinWait().setSpinIters(spinIters); }};
}
Work yieldHeavy(uint32_t workers) {
  return {workers, [](auto type) { type.setYieldHeavy(); }};
}
Work mixed(uint32_t workers, uint32_t spinIters) {
  return {workers, [=](auto type) { type.initMixed().setSpinIters(spinIters); }};
}
Work bursty(uint32_t workers, uint32_t burstUs, uint32_t sleepUs) {
  return {workers, [=](auto type) {
            auto bursty = type.initBursty();
            bursty.setBurstUs(burstUs);
            bursty.setSleepUs(sleepUs);
          }};
}
Work pipeIo(uint32_t workers, uint32_t burstIters) {
  return {workers, [=](auto type) { type.initPipeIo().setBurstIters(burstIters); }};
}
Work ioSyncWrite(uint32_t workers) {
  return {workers, [](auto type) { type.initIoSyncWrite(); }};
}

Work custom(uint32_t workers, const std::string& function, const std::string& program) {
  return {workers, [=](auto type) {
            type.initCustom().setName(function);
            type.getCustom().setProgram(program);
          }};
}

// ---- cgroups

Cgroup& Cgroup::cpuset(Cpuset cpuset) {
  cpuset_ = std::move(cpuset);
  return *this;
}
Cgroup& Cgroup::limits(Fill<rpc::CgroupLimits> limits) {
  limits_ = std::move(limits);
  return *this;
}
Cgroup& Cgroup::work(Work work) {
  work_.push_back(std::move(work));
  return *this;
}
void Cgroup::write(rpc::CgroupDef::Builder to) const {
  to.setName(name_);
  if (cpuset_) cpuset_(to.initCpuset());
  if (limits_) limits_(to.initLimits());
  writeAll(work_, [&](unsigned size) { return to.initWork(size); });
}

// ---- operations

Op addCgroup(const std::string& name) {
  return [=](auto to) { to.setAddCgroup(name); };
}
Op removeCgroup(const std::string& name) {
  return [=](auto to) { to.setRemoveCgroup(name); };
}
Op stopCgroup(const std::string& name) {
  return [=](auto to) { to.setStopCgroup(name); };
}
Op setCpuset(const std::string& cgroup, const Cpuset& cpuset) {
  return [=](auto to) {
    auto change = to.initSetCpuset();
    change.setCgroup(cgroup);
    cpuset(change.initCpuset());
  };
}
Op clearCpuset(const std::string& cgroup) {
  return [=](auto to) { to.setClearCpuset(cgroup); };
}
Op swapCpusets(const std::string& a, const std::string& b) {
  return [=](auto to) {
    auto swap = to.initSwapCpusets();
    swap.setA(a);
    swap.setB(b);
  };
}
Op spawn(const std::string& cgroup, const Work& work) {
  return [=](auto to) {
    auto more = to.initSpawn();
    more.setCgroup(cgroup);
    work.write(more.initWork());
  };
}
Op setAffinity(const std::string& cgroup, const Affinity& affinity) {
  return [=](auto to) {
    auto change = to.initSetAffinity();
    change.setCgroup(cgroup);
    affinity(change.initAffinity());
  };
}
Op moveAllTasks(const std::string& from, const std::string& to) {
  return [=](auto op) {
    auto move = op.initMoveAllTasks();
    move.setFrom(from);
    move.setTo(to);
  };
}
Op sleepMs(uint32_t milliseconds) {
  return [=](auto to) { to.setSleepMs(milliseconds); };
}
Op runPayload(const std::string& name, const std::string& binary, const std::vector<std::string>& args,
              const std::string& cgroup) {
  return [=](auto to) {
    auto payload = to.initRunPayload();
    payload.setName(name);
    payload.setBinary(binary);
    payload.setCgroup(cgroup);
    auto words = payload.initArgs(static_cast<unsigned>(args.size()));
    for (unsigned i = 0; i < words.size(); i++) words.set(i, args[i]);
  };
}
Op waitPayload(const std::string& name, uint32_t timeoutMs) {
  return [=](auto to) {
    auto wait = to.initWaitPayload();
    wait.setName(name);
    wait.setTimeoutMs(timeoutMs);
  };
}
Op killPayload(const std::string& name) {
  return [=](auto to) { to.setKillPayload(name); };
}
Op attachScheduler(const std::string& name) {
  return [=](auto to) { to.setAttachScheduler(name); };
}
Op writeMap(const std::vector<std::string>& writes) {
  return [=](auto to) {
    auto words = to.initWriteMap(static_cast<unsigned>(writes.size()));
    for (unsigned i = 0; i < words.size(); ++i) words.set(i, writes[i]);
  };
}
Op watch(const std::string& expression) {
  return [=](auto to) { to.setWatch(expression); };
}
Op detachScheduler() {
  return [](auto to) { to.setDetachScheduler(); };
}

// ---- steps and scenarios

Hold fraction(double ofDuration) {
  return [=](auto to) { to.setFraction(ofDuration); };
}
Hold fixedMs(uint32_t milliseconds) {
  return [=](auto to) { to.setFixedMs(milliseconds); };
}
Hold loop(uint32_t intervalMs, double ofDuration) {
  return [=](auto to) {
    auto loop = to.initLoop();
    loop.setIntervalMs(intervalMs);
    loop.setFraction(ofDuration);
  };
}

Step& Step::cgroup(Cgroup cgroup) {
  cgroups_.push_back(std::move(cgroup));
  return *this;
}
Step& Step::op(Op op) {
  ops_.push_back(std::move(op));
  return *this;
}
Step& Step::hold(Hold hold) {
  hold_ = std::move(hold);
  return *this;
}
void Step::write(rpc::Step::Builder to) const {
  to.setName(name_);
  writeAll(cgroups_, [&](unsigned size) { return to.initCgroups(size); });
  writeOps(ops_, [&](unsigned size) { return to.initOps(size); });
  if (hold_) hold_(to.initHold());
}

Scenario& Scenario::durationMs(uint32_t milliseconds) {
  durationMs_ = milliseconds;
  return *this;
}
Scenario& Scenario::step(Step step) {
  steps_.push_back(std::move(step));
  return *this;
}
Scenario& Scenario::backdrop(Cgroup cgroup) {
  backdrop_.push_back(std::move(cgroup));
  return *this;
}
Scenario& Scenario::backdropOp(Op op) {
  backdropOps_.push_back(std::move(op));
  return *this;
}
Scenario& Scenario::assertions(Fill<rpc::Assertions> assertions) {
  assertions_ = std::move(assertions);
  return *this;
}
void Scenario::write(rpc::Scenario::Builder to) const {
  to.setName(name_);
  to.setDescription(description_);
  if (durationMs_ != 0) to.setDurationMs(durationMs_);
  writeAll(steps_, [&](unsigned size) { return to.initSteps(size); });
  if (!backdrop_.empty() || !backdropOps_.empty()) {
    auto backdrop = to.initBackdrop();
    writeAll(backdrop_, [&](unsigned size) { return backdrop.initCgroups(size); });
    writeOps(backdropOps_, [&](unsigned size) { return backdrop.initOps(size); });
  }
  if (assertions_) assertions_(to.getAssertions());
}

}  // namespace ktstr::say
