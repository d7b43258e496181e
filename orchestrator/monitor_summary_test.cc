#include "orchestrator/monitor_summary.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <optional>

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
      cpus[i].setCurrPid(77);
      cpus[i].setClock(atNs_);
      cpus[i].setScxValid(true);
      cpus[i].setLocalDsqDepth(1);
    }
    if (fed_) {
      for (uint32_t i = 0; i < 2; ++i) cpus[i].setHostTimeNs(hostNs_[i] += (*fed_)[i] * ms);
      sample.setVcpuTimesAtNs(atNs_ + ms);
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
  // From now on the VMM tells the vCPUs' times: so many ms of a host CPU each from sample to sample.
  void feed(uint64_t cpu0, uint64_t cpu1) { fed_ = {cpu0, cpu1}; }
  void skip(uint64_t nanoseconds) { atNs_ += nanoseconds; }

  MonitorAnalysis& analysis() { return analysis_; }
  MonitorEvidence evidence() const { return analysis_.evidence(); }

 private:
  MonitorAnalysis analysis_;
  uint64_t tick_ = 0, atNs_ = 5'000 * ms;
  std::optional<std::array<uint64_t, 2>> fed_;
  std::array<uint64_t, 2> hostNs_ = {700 * ms, 900 * ms};
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
  EXPECT_TRUE(seen.starved.empty());
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
  ASSERT_EQ(seen.starved.size(), 1u);
  EXPECT_EQ(seen.starved[0].toMs - seen.starved[0].fromMs, 350);
  EXPECT_EQ(seen.starved[0].cpu, -1);
}

TEST(MonitorSummary, threePeriodsAreNotLate) {
  Machine machine;
  machine.samples(1);
  machine.skip(200 * ms);
  machine.samples(1);
  EXPECT_TRUE(machine.evidence().starved.empty());
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
  EXPECT_EQ(hostLack(machine.evidence().starved).lostMs, 600);
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
  EXPECT_TRUE(machine.evidence().starved.empty());
  EXPECT_EQ(machine.evidence().standstillSamples, 0u);
}

TEST(MonitorSummary, aStallOfAFedVcpuIsTheSchedulers) {
  Machine machine;
  machine.feed(95, 30);
  machine.samples(2);
  machine.stalls(5);
  ASSERT_TRUE(machine.evidence().stall);
  EXPECT_FALSE(machine.evidence().stall->idle);
  EXPECT_FALSE(machine.evidence().starvedStall);
  EXPECT_TRUE(machine.evidence().starved.empty());
}

TEST(MonitorSummary, aStallOfAStarvedVcpuIsTheHosts) {
  Machine machine;
  machine.feed(95, 95);
  machine.samples(2);
  machine.feed(95, 2);
  machine.stalls(30);
  const MonitorEvidence seen = machine.evidence();
  EXPECT_FALSE(seen.stall);
  EXPECT_EQ(seen.stalledSamples, 0u);
  ASSERT_TRUE(seen.starvedStall);
  EXPECT_EQ(seen.starvedStall->run, 30u);
  EXPECT_EQ(seen.starvedStall->fromMs, 100);
  ASSERT_EQ(seen.starved.size(), 1u);
  EXPECT_EQ(seen.starved[0].cpu, 1);
  EXPECT_EQ(seen.starved[0].toMs - seen.starved[0].fromMs, 3000);
  EXPECT_NEAR(seen.starved[0].hostMs, 60, 1e-6);
  EXPECT_EQ(hostLack(seen.starved).describe(),
            "the host gave vCPU 1 only 60 ms of CPU time in 3000 ms (2 %), between 100 and 3100 ms of the "
            "scenario");
}

// It may spin on a lock that the starved one holds.
TEST(MonitorSummary, aStallOfAFedVcpuBesideAStarvedOneIsTheHosts) {
  Machine machine;
  machine.feed(95, 95);
  machine.samples(2);
  machine.feed(2, 95);
  machine.stalls(10);
  EXPECT_FALSE(machine.evidence().stall);
  ASSERT_TRUE(machine.evidence().starvedStall);
  EXPECT_EQ(machine.evidence().starvedStall->cpu, 1);
  EXPECT_EQ(hostLack(machine.evidence().starved).cpu, 0);
}

TEST(MonitorSummary, aStallThatOutlastsStarvationIsTheSchedulers) {
  Machine machine;
  machine.feed(95, 95);
  machine.samples(1);
  machine.feed(95, 0);
  const auto stuck = [](rpc::Sample::Builder s) { s.getCpus()[1].setClock(5'100 * ms); };
  for (int i = 0; i < 10; ++i) machine.sample(stuck);
  machine.feed(95, 95);
  for (int i = 0; i < 4; ++i) machine.sample(stuck);
  EXPECT_FALSE(machine.evidence().stall);
  machine.sample(stuck);
  EXPECT_TRUE(machine.evidence().stall);
}

TEST(MonitorSummary, anIdleVcpuWithWaitingTasksIsNotStarved) {
  Machine machine;
  machine.feed(95, 0);
  const auto forgotten = [](rpc::Sample::Builder s) {
    s.getCpus()[1].setClock(5'100 * ms);
    s.getCpus()[1].setCurrPid(0);
  };
  for (int i = 0; i < 6; ++i) machine.sample(forgotten);
  ASSERT_TRUE(machine.evidence().stall);
  EXPECT_TRUE(machine.evidence().stall->idle);
  EXPECT_TRUE(machine.evidence().starved.empty());
}

TEST(MonitorSummary, aGuestThatHangsOnFedVcpusIsNotTheHosts) {
  const auto still = [](rpc::Sample::Builder s) {
    s.setJiffies(1025);
    for (auto cpu : s.getCpus()) cpu.setClock(5'100 * ms);
  };
  Machine hung;
  hung.feed(90, 90);
  for (int i = 0; i < 11; ++i) hung.sample(still);
  EXPECT_EQ(hung.evidence().standstillSamples, 10u);
  EXPECT_TRUE(hung.evidence().stall);
  EXPECT_TRUE(hung.evidence().starved.empty());

  Machine stopped;
  stopped.feed(0, 0);
  for (int i = 0; i < 11; ++i) stopped.sample(still);
  EXPECT_EQ(stopped.evidence().standstillSamples, 0u);
  EXPECT_FALSE(stopped.evidence().stall);
  EXPECT_EQ(hostLack(stopped.evidence().starved).lostMs, 1000);
}

TEST(MonitorSummary, depthAndImbalanceOfStarvedVcpusAreTheHosts) {
  Limits limits;
  limits.maxImbalanceRatio = {4};
  Machine machine(limits);
  machine.feed(95, 1);
  for (int i = 0; i < 8; ++i) {
    machine.sample([](rpc::Sample::Builder s) {
      s.getCpus()[1].setNrRunning(70);
      s.getCpus()[1].setLocalDsqDepth(60);
    });
  }
  const MonitorEvidence seen = machine.evidence();
  EXPECT_FALSE(seen.dsqDepth || seen.imbalance);
  ASSERT_TRUE(seen.starvedDsqDepth && seen.starvedImbalance);
  EXPECT_EQ(seen.starvedDsqDepth->cpu, 1);
  EXPECT_EQ(seen.starvedImbalance->cpu, -1);
}

TEST(MonitorSummary, tellsEachVcpusShareOfAHostCpu) {
  Machine machine;
  machine.feed(90, 4);
  machine.samples(11);
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorSummary>();
  writeMonitorSummary(machine.evidence(), out);
  ASSERT_EQ(out.getVcpus().size(), 2u);
  EXPECT_NEAR(out.getVcpus()[0].getHostShare(), 0.9, 1e-9);
  EXPECT_NEAR(out.getVcpus()[1].getHostShare(), 0.04, 1e-9);
  EXPECT_EQ(out.getVcpus()[0].getStarvedMs(), 0);
  EXPECT_EQ(out.getVcpus()[1].getStarvedMs(), 1000);
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
  limits.maxImbalanceRatio = {4};
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

TEST(MonitorSummary, namesOtherCpusThatStallAsLong) {
  Machine machine;
  machine.samples(2);
  const auto stall = [&](bool both) {
    machine.sample([&](rpc::Sample::Builder s) {
      s.getCpus()[1].setClock(5'200 * ms);
      if (both) s.getCpus()[0].setClock(5'200 * ms);
    });
  };
  for (int i = 0; i < 5; ++i) stall(true);
  ASSERT_TRUE(machine.evidence().stall);
  EXPECT_EQ(machine.evidence().stall->cpu, 0);
  EXPECT_EQ(machine.evidence().stall->also, std::vector<uint32_t>{1});
  stall(false);
  EXPECT_EQ(machine.evidence().stall->cpu, 1);
  EXPECT_TRUE(machine.evidence().stall->also.empty());
}

TEST(MonitorSummary, listsCpusThatIdleWhileTasksWaitElsewhere) {
  Machine machine;
  const auto idle = [&](uint32_t others, uint32_t own) {
    machine.sample([&](rpc::Sample::Builder s) {
      s.getCpus()[0].setNrRunning(others);
      s.getCpus()[1].setNrRunning(own);
      s.getCpus()[1].setCurrPid(0);
    });
  };
  machine.samples(1);
  for (int i = 0; i < 9; ++i) idle(1, 0);  // nobody waits
  for (int i = 0; i < 9; ++i) idle(3, 1);  // it was given a task, and its vCPU may be slow to wake
  for (int i = 0; i < 4; ++i) idle(3, 0);
  machine.samples(1);
  EXPECT_TRUE(machine.evidence().unused.empty());
  for (int i = 0; i < 6; ++i) idle(3, 0);
  machine.samples(1);
  for (int i = 0; i < 5; ++i) idle(4, 0);
  const auto runs = machine.evidence().unused;
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].cpu, 1);
  EXPECT_EQ(runs[0].run, 6u);
  EXPECT_EQ(runs[0].value, 2);
  EXPECT_EQ(runs[1].run, 5u);
  EXPECT_EQ(runs[1].value, 3);
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

// A counter on CPU 1 that goes up by so many from sample to sample, 100 ms apart.
class Counting {
 public:
  explicit Counting(const char* event) : machine_(limitsOf()) {
    capnp::MallocMessageBuilder message;
    message.initRoot<rpc::MonitorRecord>().initAttached().initScxEventNames(2).set(1, event);
    machine_.analysis().add(message.getRoot<rpc::MonitorRecord>().asReader());
  }
  void samples(int count, uint64_t more) {
    for (int i = 0; i < count; ++i) {
      machine_.sample([&](rpc::Sample::Builder sample) {
        sample.getCpus()[0].initScxEvents(2);
        sample.getCpus()[1].initScxEvents(2).set(1, total_ += more);
      });
    }
  }
  void unreadable() { machine_.samples(1); }
  void feed(uint64_t cpu0, uint64_t cpu1) { machine_.feed(cpu0, cpu1); }
  MonitorEvidence evidence() const { return machine_.evidence(); }

 private:
  static Limits limitsOf() {
    Limits limits;
    limits.maxFallbackRate = limits.maxKeepLastRate = {100};
    return limits;
  }
  Machine machine_;
  uint64_t total_ = 0;
};

TEST(MonitorSummary, aRateMustBeSustainedToCount) {
  for (const bool fallback : {true, false}) {
    Counting run(fallback ? "SCX_EV_SELECT_CPU_FALLBACK" : "SCX_EV_DISPATCH_KEEP_LAST");
    const auto seen = fallback ? &MonitorEvidence::fallback : &MonitorEvidence::keepLast;
    const auto other = fallback ? &MonitorEvidence::keepLast : &MonitorEvidence::fallback;
    run.samples(11, 10);  // 100 a second: the limit
    EXPECT_EQ((run.evidence().*seen).intervals, 10u);
    EXPECT_FALSE((run.evidence().*seen).over);
    run.samples(4, 11);
    run.unreadable();
    run.samples(5, 11);
    EXPECT_FALSE((run.evidence().*seen).over) << "four and four";
    run.samples(1, 12);
    const auto over = (run.evidence().*seen).over;
    ASSERT_TRUE(over);
    EXPECT_EQ(over->run, 5u);
    EXPECT_NEAR(over->value, 120, 1e-6);
    EXPECT_EQ((run.evidence().*other).intervals, 0u);
  }
}

TEST(MonitorSummary, aRateOfAStarvedVcpuIsTheHosts) {
  Counting run("SCX_EV_SELECT_CPU_FALLBACK");
  run.feed(100, 2);
  run.samples(8, 50);
  EXPECT_FALSE(run.evidence().fallback.over);
  EXPECT_TRUE(run.evidence().fallback.starved);
}

TEST(MonitorSummary, theHostIsKeptForEachPass) {
  Machine machine;
  machine.feed(100, 2);
  machine.samples(3);
  const auto first = machine.evidence().starved;
  ASSERT_FALSE(first.empty());
  machine.analysis().endScenario();
  machine.analysis().beginBaseline();
  machine.samples(4);
  const MonitorEvidence seen = machine.evidence();
  EXPECT_EQ(seen.starved.back().toMs, first.back().toMs);
  EXPECT_EQ(seen.samples, 3u);
  ASSERT_EQ(seen.baselineStarved.size(), 1u);
  EXPECT_EQ(seen.baselineStarved[0].cpu, 1);
  EXPECT_EQ(seen.baselineStarved[0].toMs, 300);
}

}  // namespace
}  // namespace ktstr
