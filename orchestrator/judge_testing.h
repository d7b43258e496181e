// For tests of the verdict: a run in which everything went well, to be spoilt in one place.
#pragma once

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/relative.h"

namespace ktstr {

// Two workers "spinWait" in cgroup "a" on CPUs 0-1, two "bursty" in cgroup "b" on CPUs 2-3, one step "main",
// under scx_simple, 20 good samples.
class GoodRun {
 public:
  explicit GoodRun(const std::string& scheduler = "scx_simple") : scheduler_(scheduler) {
    auto scenario = scenario_->initRoot<rpc::Scenario>();
    scenario.setName("mixed");
    auto step = scenario.initSteps(1)[0];
    step.setName("main");
    auto cgroups = step.initCgroups(2);
    addWork(cgroups[0], "a", {0, 1}).initType().initSpinWait();
    addWork(cgroups[1], "b", {2, 3}).initType().initBursty();

    event().initReady();
    if (!scheduler.empty()) event().initSchedulerAttached().setOpsName("simple");
    auto started = event();
    started.setAtNs(1'000'000'000);
    started.setScenarioStarted();
    for (uint32_t i = 0; i < 2; ++i) worker("a", "spinWait", i, {0, 1});
    for (uint32_t i = 0; i < 2; ++i) worker("b", "bursty", i, {2, 3});
    event().setScenarioEnded();
    event().initDone();

    monitor.attached = true;
    monitor.allSamples = 40;
    monitor.samples = monitor.validSamples = monitor.scxReadableSamples = monitor.dsqReadableSamples = 20;
    if (!scheduler.empty()) {
      monitor.scxEnabledSamples = 20;
      monitor.opsNames = {"simple"};
    }
    lifecycle.phase = RunPhase::collect;
    lifecycle.exit = rpc::ExitKind::RESET;
  }

  rpc::Scenario::Builder scenario() { return scenario_->getRoot<rpc::Scenario>(); }

  rpc::GuestEvent::Builder event() {
    events_.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    return events_.back()->initRoot<rpc::GuestEvent>();
  }

  void failure(rpc::GuestFailureName name, const std::string& message = "details") {
    auto failure = event().initFailure();
    failure.setName(name);
    failure.setMessage(message);
  }

  // Report `index` of all, to be spoilt.
  rpc::WorkerReport::Builder report(size_t index) {
    return events_.at(reports_.at(index))->getRoot<rpc::GuestEvent>().getWorker();
  }

  // The events of one kind never came.
  void drop(rpc::GuestEvent::Which which) { dropped_.push_back(which); }
  // Nor did any after the guest's first `count`.
  void keepFirst(size_t count) { events_.resize(count); }

  Judgement judge() {
    std::vector<rpc::GuestEvent::Reader> readers;
    for (const auto& message : events_) {
      const auto reader = message->getRoot<rpc::GuestEvent>().asReader();
      if (std::find(dropped_.begin(), dropped_.end(), reader.which()) == dropped_.end())
        readers.push_back(reader);
    }
    const rpc::Scenario::Reader asked = scenario().asReader();
    const Passes passes = splitPasses(readers);
    return ktstr::judge({asked, mergeAssertions(asked), scheduler_, passes.scheduler, monitor,
                         classifyConsole(console), lifecycle, emulated, besideEevdf || hasRelative(asked),
                         passes.baseline, mapWrites, watchdog, clock, performanceMode});
  }

  // The same reports once more, of a second pass; from here on report() means them.
  void runBaseline() {
    event().setBaselineStarted();
    reports_.clear();
    for (uint32_t i = 0; i < 2; ++i) worker("a", "spinWait", i, {0, 1});
    for (uint32_t i = 0; i < 2; ++i) worker("b", "bursty", i, {2, 3});
  }

  MonitorEvidence monitor;
  Lifecycle lifecycle;
  std::string console;
  bool emulated = true;
  bool besideEevdf = false;
  MapWrites mapWrites;
  WatchdogWrites watchdog;
  std::optional<ClockOffset> clock;
  bool performanceMode = false;

 private:
  static rpc::WorkSpec::Builder addWork(rpc::CgroupDef::Builder cgroup, const char* name,
                                        std::vector<uint32_t> cpus) {
    cgroup.setName(name);
    auto exact = cgroup.initCpuset().initExact(static_cast<unsigned>(cpus.size()));
    for (unsigned i = 0; i < exact.size(); ++i) exact.set(i, cpus[i]);
    auto work = cgroup.initWork(1)[0];
    work.setWorkers(2);
    return work;
  }

  void worker(const char* cgroup, const char* work, uint32_t index, std::vector<uint32_t> cpus) {
    reports_.push_back(events_.size());
    auto report = event().initWorker();
    report.setCgroup(cgroup);
    report.setWork(work);
    report.setIndex(index);
    report.setIterations(1000);
    report.setWorkUnits(1000);
    report.setWallNs(2'000'000'000);
    report.setCpuNs(1'000'000'000);
    report.setMaxGapNs(20'000'000);
    report.setMigrations(10);
    setCpus(report.initCpuset(2), cpus);
    setCpus(report.initCpusSeen(2), cpus);
    auto bucket = report.initWakeLatency(1)[0];
    bucket.setUpperNs(100'000);
    bucket.setCount(50);
    report.setWakeSamples(50);
  }

  static void setCpus(capnp::List<uint32_t>::Builder list, const std::vector<uint32_t>& cpus) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, cpus[i]);
  }

  std::string scheduler_;
  std::unique_ptr<capnp::MallocMessageBuilder> scenario_ = std::make_unique<capnp::MallocMessageBuilder>();
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> events_;
  std::vector<size_t> reports_;
  std::vector<rpc::GuestEvent::Which> dropped_;
};

inline std::string describe(const Judgement& judgement) {
  std::string all = outcomeName(judgement.outcome);
  for (const Finding& finding : judgement.findings) {
    all += std::string("\n  ") + outcomeName(finding.outcome) + " " + finding.name + ": " + finding.message;
  }
  return all;
}

inline void expectPass(const Judgement& judgement) {
  EXPECT_EQ(judgement.outcome, Outcome::PASS) << describe(judgement);
  EXPECT_EQ(judgement.exitCode, ExitCode::pass);
  EXPECT_TRUE(judgement.findings.empty()) << describe(judgement);
}

// Exactly this finding and no other, with something to read and something to do.
inline Finding expectOnly(const Judgement& judgement, const std::string& name, Outcome outcome) {
  EXPECT_EQ(judgement.outcome, outcome) << describe(judgement);
  EXPECT_EQ(judgement.exitCode, exitCodeOf(outcome));
  EXPECT_EQ(judgement.findings.size(), 1u) << describe(judgement);
  if (judgement.findings.empty()) return {};
  const Finding& finding = judgement.findings.front();
  EXPECT_EQ(finding.name, name) << describe(judgement);
  EXPECT_FALSE(finding.message.empty());
  EXPECT_FALSE(finding.hint.empty());
  return finding;
}

}  // namespace ktstr
