#include "guest/scenario/build.h"

namespace ktstr::say {
namespace {

// Each of `parts` into its place of the list that `init` makes. Nothing to say leaves the list alone.
template <typename Parts, typename Init>
void writeAll(const Parts& parts, Init init) {
  if (parts.empty()) return;
  auto list = init(static_cast<unsigned>(parts.size()));
  for (unsigned i = 0; i < list.size(); ++i) parts[i].write(list[i]);
}

template <typename Fills, typename Init>
void fillAll(const Fills& fills, Init init) {
  if (fills.empty()) return;
  auto list = init(static_cast<unsigned>(fills.size()));
  for (unsigned i = 0; i < list.size(); ++i) fills[i](list[i]);
}

template <typename Init>
void putWords(const std::vector<std::string>& words, Init init) {
  auto list = init(static_cast<unsigned>(words.size()));
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, words[i]);
}

}  // namespace

// ---- cpusets

Cpuset parentCpus() {
  return [](auto to) { to.setInherit(); };
}
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
Cpuset cpus(const Numbers& numbers) {
  return [=](auto to) { to.setExact(kj::arrayPtr(numbers.data(), numbers.size())); };
}

// ---- cgroups

Cgroup::Cgroup(const std::string& name) {
  set([=](auto to) { to.setName(name); });
}
Cgroup& Cgroup::cpuset(const Cpuset& cpuset) {
  return set([=](auto to) {
    if (cpuset) cpuset(to.initCpuset());
  });
}
Cgroup& Cgroup::cpusetMems(const Numbers& nodes) {
  return set([=](auto to) { to.setCpusetMems(kj::arrayPtr(nodes.data(), nodes.size())); });
}
Cgroup& Cgroup::limits(const Limits& limits) {
  return set([=](auto to) { limits(to.getLimits()); });
}
Cgroup& Cgroup::work(Work work) {
  work_.push_back(std::move(work));
  return *this;
}
void Cgroup::write(rpc::CgroupDef::Builder to) const {
  writeAll(work_, [&](unsigned size) { return to.initWork(size); });
  Filled::write(to);
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
Op freezeCgroup(const std::string& name) {
  return [=](auto to) { to.setFreezeCgroup(name); };
}
Op unfreezeCgroup(const std::string& name) {
  return [=](auto to) { to.setUnfreezeCgroup(name); };
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
Op setLimits(const std::string& cgroup, const Limits& limits) {
  return [=](auto to) {
    auto change = to.initSetLimits();
    change.setCgroup(cgroup);
    limits(change.initLimits());
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
              const std::string& cgroup, uint8_t exitCode) {
  return [=](auto to) {
    auto payload = to.initRunPayload();
    payload.setName(name);
    payload.setBinary(binary);
    payload.setCgroup(cgroup);
    payload.setExitCode(exitCode);
    putWords(args, [&](unsigned size) { return payload.initArgs(size); });
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
Op detachScheduler() {
  return [](auto to) { to.setDetachScheduler(); };
}
Op replaceScheduler(const std::string& name) {
  return [=](auto to) { to.setReplaceScheduler(name); };
}
Op writeMap(const std::vector<std::string>& writes) {
  return [=](auto to) { putWords(writes, [&](unsigned size) { return to.initWriteMap(size); }); };
}
Op snapshot(const std::string& name) {
  return [=](auto to) { to.setSnapshot(name); };
}
Op watch(const std::string& expression) {
  return [=](auto to) { to.setWatch(expression); };
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

Step::Step(const std::string& name) {
  set([=](auto to) { to.setName(name); });
}
Step& Step::cgroup(Cgroup cgroup) {
  cgroups_.push_back(std::move(cgroup));
  return *this;
}
Step& Step::op(Op op) {
  ops_.push_back(std::move(op));
  return *this;
}
Step& Step::hold(const Hold& hold) {
  return set([=](auto to) { hold(to.initHold()); });
}
void Step::write(rpc::Step::Builder to) const {
  writeAll(cgroups_, [&](unsigned size) { return to.initCgroups(size); });
  fillAll(ops_, [&](unsigned size) { return to.initOps(size); });
  Filled::write(to);
}

Scenario::Scenario(const std::string& name, const std::string& description) {
  set([=](auto to) {
    to.setName(name);
    to.setDescription(description);
  });
}
Scenario& Scenario::durationMs(uint32_t milliseconds) {
  return set([=](auto to) { to.setDurationMs(milliseconds); });
}
Scenario& Scenario::snapshots(uint32_t number) {
  return set([=](auto to) { to.setSnapshots(number); });
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
Scenario& Scenario::scheduler(const std::string& name, const std::string& binary,
                              const std::vector<std::string>& args) {
  schedulers_.emplace_back([=](auto to) {
    to.setName(name);
    to.setBinary(binary);
    putWords(args, [&](unsigned size) { return to.initArgs(size); });
  });
  return *this;
}
Scenario& Scenario::assertions(const Fill<rpc::Assertions>& assertions) {
  return set([=](auto to) { assertions(to.getAssertions()); });
}
void Scenario::write(rpc::Scenario::Builder to) const {
  writeAll(steps_, [&](unsigned size) { return to.initSteps(size); });
  writeAll(backdrop_, [&](unsigned size) { return to.getBackdrop().initCgroups(size); });
  fillAll(backdropOps_, [&](unsigned size) { return to.getBackdrop().initOps(size); });
  fillAll(schedulers_, [&](unsigned size) { return to.initSchedulers(size); });
  Filled::write(to);
}

}  // namespace ktstr::say
