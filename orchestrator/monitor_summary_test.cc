#include "orchestrator/monitor_summary.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ktstr {
namespace {

constexpr uint64_t ms = 1'000'000;

// A sample of `cpus` busy CPUs with clocks that advance, 100 ms after the one before, to be spoilt before it
// counts.
class Machine {
 public:
  explicit Machine(Limits limits = {}) : analysis_(limits) {
    capnp::MallocMessageBuilder message;
    message.initRoot<rpc::MonitorRecord>().initAttached().setCpus(2);
    analysis_.add(message.getRoot<rpc::MonitorRecord>().asReader());
    analysis_.beginScenario();
  }

  template <typename Spoil>
  void sample(Spoil spoil) {
    ++tick_;
    capnp::MallocMessageBuilder message;
    auto sample = message.initRoot<rpc::MonitorRecord>().initSample();
    atNs_ += 100 * ms;
    sample.setSequence(tick_);
    sample.setAtNs(atNs_);
    sample.setCostNs(50'000);
    sample.setJiffies(1000 + tick_ * 25);
    sample.getScx().setPresent(true);
    sample.getScx().setState(rpc::ScxState::ENABLED);
    sample.getScx().setOpsName("simple");
    auto cpus = sample.initCpus(2);
    for (uint32_t i = 0; i < 2; ++i) {
      cpus[i].setCpu(i);
      cpus[i].setValid(true);
      cpus[i].setNrRunning(2);
      cpus[i].setClock(atNs_);
      cpus[i].setScxValid(true);
      cpus[i].setLocalDsqDepth(1);
    }
    spoil(sample);
    analysis_.add(message.getRoot<rpc::MonitorRecord>().asReader());
  }
  void samples(int count) {
    for (int i = 0; i < count; ++i) sample([](auto) {});
  }
  // `count` samples in which CPU 1's clock stands where it stood in the last good one.
  void stalls(int count) {
    const uint64_t clock = atNs_;
    for (int i = 0; i < count; ++i) {
      sample([&](rpc::Sample::Builder s) { s.getCpus()[1].setClock(clock); });
    }
  }
  void skip(uint64_t nanoseconds) { atNs_ += nanoseconds; }

  MonitorAnalysis& analysis() { return analysis_; }
  MonitorEvidence evidence() const { return analysis_.evidence(); }

 private:
  MonitorAnalysis analysis_;
  uint64_t tick_ = 0, atNs_ = 5'000 * ms;
};

TEST(MonitorSummary, summarisesAGoodRun) {
  Machine machine;
  machine.samples(10);
  machine.sample([](rpc::Sample::Builder s) {
    s.getCpus()[0].setNrRunning(6);
    s.getCpus()[1].setLocalDsqDepth(3);
  });
  const MonitorEvidence seen = machine.evidence();
  EXPECT_TRUE(seen.attached);
  EXPECT_EQ(seen.samples, 11u);
  EXPECT_EQ(seen.validSamples, 11u);
  EXPECT_EQ(seen.scxEnabledSamples, 11u);
  EXPECT_EQ(seen.opsNames, std::vector<std::string>{"simple"});
  EXPECT_EQ(seen.maxImbalanceRatio, 3);
  EXPECT_EQ(seen.maxLocalDsqDepth, 3);
  EXPECT_NEAR(seen.meanNrRunning.value(), 48.0 / 22, 1e-9);
  EXPECT_EQ(seen.meanCostNs, 50'000u);
  EXPECT_FALSE(seen.stall || seen.starvedStall || seen.dsqDepth || seen.imbalance);
  EXPECT_EQ(seen.starvedIntervals, 0u);
}

TEST(MonitorSummary, countsOnlyWhileTheScenarioRuns) {
  Machine machine;
  machine.samples(3);
  machine.analysis().endScenario();
  machine.stalls(20);
  const MonitorEvidence seen = machine.evidence();
  EXPECT_EQ(seen.samples, 3u);
  EXPECT_EQ(seen.allSamples, 23u);
  EXPECT_FALSE(seen.stall);
}

TEST(MonitorSummary, aStallMustBeSustained) {
  Machine machine;
  machine.samples(2);
  machine.stalls(4);
  machine.samples(1);
  machine.stalls(4);
  EXPECT_FALSE(machine.evidence().stall);
  EXPECT_EQ(machine.evidence().stalledSamples, 8u);
  machine.samples(1);
  machine.stalls(5);
  const auto stall = machine.evidence().stall;
  ASSERT_TRUE(stall);
  EXPECT_EQ(stall->cpu, 1);
  EXPECT_EQ(stall->run, 5u);
  EXPECT_EQ(stall->lastSequence, 17u);
  EXPECT_EQ(stall->afterMs, 1600);
}

TEST(MonitorSummary, onePredicateDecidesAStall) {
  const CpuSight busy{true, 1, 100};
  EXPECT_TRUE(stalledBetween(busy, busy));
  EXPECT_FALSE(stalledBetween(busy, {true, 1, 101}));
  EXPECT_FALSE(stalledBetween(busy, {true, 0, 100}));
  EXPECT_FALSE(stalledBetween({true, 0, 100}, busy));
  EXPECT_FALSE(stalledBetween(busy, {false, 1, 100}));
  EXPECT_FALSE(stalledBetween({false, 1, 100}, busy));
  EXPECT_FALSE(stalledBetween({true, 1, 0}, {true, 1, 0}));

  capnp::MallocMessageBuilder message;
  auto cpu = message.initRoot<rpc::CpuSample>();
  cpu.setValid(true);
  EXPECT_TRUE(sightOf(cpu).readable);
  cpu.setTorn(true);
  EXPECT_FALSE(sightOf(cpu).readable);
}

TEST(MonitorSummary, aStallThatNeedsLateSamplesIsTheHosts) {
  Machine machine;
  machine.samples(2);
  machine.stalls(2);
  machine.skip(250 * ms);  // 350 ms apart
  // The clock in stalls() would follow the skip, so the stall is continued by hand.
  const uint64_t clock = (5'000 + 200) * ms;
  for (int i = 0; i < 3; ++i) {
    machine.sample([&](rpc::Sample::Builder s) { s.getCpus()[1].setClock(clock); });
  }
  const MonitorEvidence seen = machine.evidence();
  EXPECT_FALSE(seen.stall);
  ASSERT_TRUE(seen.starvedStall);
  EXPECT_EQ(seen.starvedStall->run, 5u);
  EXPECT_EQ(seen.starvedIntervals, 1u);
  EXPECT_EQ(seen.longestStarvedMs, 350);
}

TEST(MonitorSummary, threePeriodsAreNotLate) {
  Machine machine;
  machine.samples(1);
  machine.skip(200 * ms);
  machine.samples(1);
  EXPECT_EQ(machine.evidence().starvedIntervals, 0u);
}

TEST(MonitorSummary, aBusyGuestWhoseJiffiesStandStillIsStarved) {
  Machine machine;
  machine.samples(2);
  const auto still = [](rpc::Sample::Builder s) {
    s.setJiffies(1050);
    s.getCpus()[1].setClock(5'200 * ms);
  };
  for (int i = 0; i < 6; ++i) machine.sample(still);
  EXPECT_FALSE(machine.evidence().stall);
  EXPECT_TRUE(machine.evidence().starvedStall);
  EXPECT_EQ(machine.evidence().starvedMs, 600);
  EXPECT_EQ(machine.evidence().standstillSamples, 6u);
  machine.samples(1);
  EXPECT_EQ(machine.evidence().standstillSamples, 0u);
}

TEST(MonitorSummary, anIdleGuestMayStandStill) {
  Machine machine;
  machine.samples(1);
  for (int i = 0; i < 6; ++i) {
    machine.sample([](rpc::Sample::Builder s) {
      s.setJiffies(1025);
      for (auto cpu : s.getCpus()) cpu.setNrRunning(0);
    });
  }
  EXPECT_EQ(machine.evidence().starvedIntervals, 0u);
  EXPECT_EQ(machine.evidence().standstillSamples, 0u);
}

TEST(MonitorSummary, namesWhatCannotBeTrue) {
  Machine machine;
  machine.samples(1);
  machine.sample([](rpc::Sample::Builder s) { s.getCpus()[0].setLocalDsqDepth(10'001); });
  machine.sample([](rpc::Sample::Builder s) { s.getCpus()[0].setLocalDsqDepth(10'000); });
  machine.sample([](rpc::Sample::Builder s) { s.getCpus()[1].setClock(7); });
  machine.sample([](rpc::Sample::Builder s) {
    for (auto cpu : s.getCpus()) cpu.setValid(false);
  });
  machine.sample([](rpc::Sample::Builder s) { s.initCpus(0); });
  const MonitorEvidence seen = machine.evidence();
  EXPECT_EQ(seen.samples, 6u);
  EXPECT_EQ(seen.validSamples, 2u);
  EXPECT_EQ(seen.implausible.at(Implausible::dsqDepth), 1u);
  EXPECT_EQ(seen.implausible.at(Implausible::clockBackwards), 1u);
  EXPECT_EQ(seen.implausible.at(Implausible::noCpuReadable), 2u);
  EXPECT_EQ(seen.implausibleExample, "sample 2: local DSQ depth 10001 on CPU 0");
  EXPECT_EQ(seen.maxLocalDsqDepth, 10'000);
}

TEST(MonitorSummary, aTornClockDoesNotGoBackwards) {
  Machine machine;
  machine.samples(1);
  machine.sample([](rpc::Sample::Builder s) {
    s.getCpus()[1].setClock(7);
    s.getCpus()[1].setTorn(true);
  });
  machine.samples(1);
  EXPECT_EQ(machine.evidence().validSamples, 3u);
}

TEST(MonitorSummary, dsqDepthMustBeSustainedOnOneCpu) {
  Machine machine;
  const auto deep = [&](unsigned cpu, uint32_t depth) {
    machine.sample([&](rpc::Sample::Builder s) { s.getCpus()[cpu].setLocalDsqDepth(depth); });
  };
  for (int i = 0; i < 10; ++i) deep(0, 50);
  for (unsigned i = 0; i < 10; ++i) deep(i % 2, 60);
  EXPECT_FALSE(machine.evidence().dsqDepth);
  for (uint32_t i = 0; i < 5; ++i) deep(0, 55 - i);
  const auto found = machine.evidence().dsqDepth;
  ASSERT_TRUE(found);
  EXPECT_EQ(found->cpu, 0);
  EXPECT_EQ(found->value, 55);
  EXPECT_EQ(found->run, 5u);
}

TEST(MonitorSummary, imbalanceIsJudgedByTheLimit) {
  Limits limits;
  limits.maxImbalanceRatio = 4;
  Machine machine(limits);
  const auto uneven = [&](uint32_t tasks) {
    machine.sample([&](rpc::Sample::Builder s) {
      s.getCpus()[0].setNrRunning(tasks);
      s.getCpus()[1].setNrRunning(0);
    });
  };
  for (int i = 0; i < 6; ++i) uneven(4);
  EXPECT_FALSE(machine.evidence().imbalance);
  for (int i = 0; i < 5; ++i) uneven(5);
  ASSERT_TRUE(machine.evidence().imbalance);
  EXPECT_EQ(machine.evidence().imbalance->value, 5);
  EXPECT_EQ(machine.evidence().imbalance->cpu, -1);
}

TEST(MonitorSummary, seesASchedulerThatWasLost) {
  Machine machine;
  const auto off = [](rpc::Sample::Builder s) { s.getScx().setState(rpc::ScxState::DISABLED); };
  for (int i = 0; i < 4; ++i) machine.sample(off);
  EXPECT_EQ(machine.evidence().scxLostRun, 0u);
  machine.samples(2);
  for (int i = 0; i < 3; ++i) machine.sample(off);
  machine.samples(1);
  machine.sample([](rpc::Sample::Builder s) { s.getScx().setPresent(false); });
  const MonitorEvidence seen = machine.evidence();
  EXPECT_EQ(seen.scxLostRun, 3u);
  EXPECT_EQ(seen.scxReadableSamples, 10u);
  EXPECT_EQ(seen.scxEnabledSamples, 3u);
}

TEST(MonitorSummary, keepsReasonsOfAMonitorThatSawNothing) {
  MonitorAnalysis analysis{Limits{}};
  capnp::MallocMessageBuilder waiting, ended;
  waiting.initRoot<rpc::MonitorRecord>().initWaiting().setReason("no VMCOREINFO");
  ended.initRoot<rpc::MonitorRecord>().initEnded().setKind(rpc::EndKind::NEVER_FOUND);
  analysis.add(waiting.getRoot<rpc::MonitorRecord>().asReader());
  analysis.add(ended.getRoot<rpc::MonitorRecord>().asReader());
  EXPECT_FALSE(analysis.evidence().attached);
  EXPECT_EQ(analysis.evidence().lastWaiting, "no VMCOREINFO");
  EXPECT_EQ(analysis.evidence().ended, rpc::EndKind::NEVER_FOUND);

  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorSummary>();
  writeMonitorSummary(analysis.evidence(), out);
  EXPECT_TRUE(std::isnan(out.getMaxImbalanceRatio()));
  EXPECT_TRUE(std::isnan(out.getMaxLocalDsqDepth()));
  EXPECT_TRUE(std::isnan(out.getMeanNrRunning()));
}

}  // namespace
}  // namespace ktstr
