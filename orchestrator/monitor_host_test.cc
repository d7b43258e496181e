// What is the host's doing, and what is not.
#include <gtest/gtest.h>

#include "orchestrator/monitor_testing.h"

namespace ktstr {
namespace {

TEST(MonitorHost, aStallThatNeedsLateSamplesIsTheHosts) {
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

TEST(MonitorHost, threePeriodsAreNotLate) {
  Machine machine;
  machine.samples(1);
  machine.skip(200 * ms);
  machine.samples(1);
  EXPECT_TRUE(machine.evidence().starved.empty());
}

TEST(MonitorHost, aBusyGuestWhoseJiffiesStandStillIsStarved) {
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

// A guest with a tick of 4 ms, looked at each millisecond.
TEST(MonitorHost, theRealPeriodIsWhatLateAndStillAreMeasuredBy) {
  Machine machine({}, 1);
  machine.samples(1);
  machine.skip(2 * ms);  // 3 ms after the one before
  machine.samples(1);
  EXPECT_TRUE(machine.evidence().starved.empty());
  machine.skip(3 * ms);
  machine.samples(1);
  EXPECT_EQ(machine.evidence().starved.size(), 1u);
  const auto still = [](rpc::Sample::Builder s) {
    s.setJiffies(999);
    for (auto cpu : s.getCpus()) cpu.setClock(6'000 * ms);
  };
  machine.feed(1, 1);
  for (int i = 0; i < 101; ++i) machine.sample(still);
  EXPECT_EQ(machine.evidence().standstillSamples, 1u);
  for (int i = 0; i < 900; ++i) machine.sample(still);
  EXPECT_EQ(machine.evidence().standstillSamples, 10u);
}

TEST(MonitorHost, anIdleGuestMayStandStill) {
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

TEST(MonitorHost, aStallOfAFedVcpuIsTheSchedulers) {
  Machine machine;
  machine.feed(95, 30);
  machine.samples(2);
  machine.stalls(5);
  ASSERT_TRUE(machine.evidence().stall);
  EXPECT_FALSE(machine.evidence().stall->idle);
  EXPECT_FALSE(machine.evidence().starvedStall);
  EXPECT_TRUE(machine.evidence().starved.empty());
}

TEST(MonitorHost, aStallOfAStarvedVcpuIsTheHosts) {
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

// A VMM that has told the vCPUs' times and is itself not run by the host. The late samples of such a host are
// not those of one that never tells.
TEST(MonitorHost, aStallWhileTheVmmDoesNotAnswerIsNotTheSchedulers) {
  const auto silent = [](rpc::Sample::Builder s) {
    s.setVcpuTimesAtNs(0);
    for (auto cpu : s.getCpus()) cpu.setHostTimeNs(0);
    s.getCpus()[1].setClock(5'200 * ms);
  };
  Machine machine;
  machine.feed(95, 95);
  machine.samples(2);
  machine.feed(95, 2);
  for (int i = 0; i < 8; ++i) machine.sample(silent);
  const MonitorEvidence meanwhile = machine.evidence();
  EXPECT_FALSE(meanwhile.stall);
  ASSERT_TRUE(meanwhile.starvedStall);
  EXPECT_EQ(meanwhile.starvedStall->run, 8u);
  EXPECT_EQ(meanwhile.standstillSamples, 0u);
  EXPECT_TRUE(meanwhile.starved.empty());
  EXPECT_EQ(hostLack(meanwhile.starved).describe(), "what the host gave the vCPUs meanwhile is not known");
  // Its next answer tells of all the time.
  machine.samples(1);
  const MonitorEvidence seen = machine.evidence();
  ASSERT_EQ(seen.starved.size(), 1u);
  EXPECT_EQ(seen.starved[0].cpu, 1);
  EXPECT_EQ(seen.starved[0].fromMs, 100);
  EXPECT_EQ(seen.starved[0].toMs, 1000);
  EXPECT_NEAR(seen.starved[0].hostMs, 18, 1e-6);
}

// A machine that stood still while the VMM said nothing: where somebody wanted to run all along, by his time;
// else, or if no answer comes any more, as if the VMM never told.
TEST(MonitorHost, aStandstillWhileTheVmmDoesNotAnswerIsKeptUnlessAVcpusTimeTellsMore) {
  for (const bool restsAfter : {true, false}) {
    Machine machine;
    machine.feed(50, 50);
    machine.samples(2);
    const auto still = [](rpc::Sample::Builder s) {
      s.setVcpuTimesAtNs(0);
      s.setJiffies(1050);
    };
    for (int i = 0; i < 10; ++i) machine.sample(still);
    EXPECT_EQ(hostLack(machine.evidence().starved).lostMs, 1000);
    EXPECT_EQ(machine.evidence().standstillSamples, 0u);
    machine.sample([&](rpc::Sample::Builder s) {
      if (!restsAfter) return;
      for (auto cpu : s.getCpus()) {
        cpu.setNrRunning(0);
        cpu.setCurrPid(0);
      }
    });
    EXPECT_EQ(hostLack(machine.evidence().starved).lostMs, restsAfter ? 1000 : 0);
  }
}

TEST(MonitorHost, whoRestedWhileTheVmmDidNotAnswerIsNotCalledStarved) {
  Machine machine;
  machine.feed(95, 95);
  machine.samples(2);
  machine.feed(95, 2);
  for (const uint32_t tasks : {2u, 0u, 2u}) {
    machine.sample([&](rpc::Sample::Builder s) {
      s.setVcpuTimesAtNs(0);
      s.getCpus()[1].setNrRunning(tasks);
      s.getCpus()[1].setCurrPid(tasks == 0 ? 0 : 77);
    });
  }
  machine.samples(1);
  EXPECT_TRUE(machine.evidence().starved.empty());
  machine.samples(1);
  EXPECT_EQ(hostLack(machine.evidence().starved).lostMs, 100) << "the next is seen by itself again";
}

// It may spin on a lock that the starved one holds.
TEST(MonitorHost, aStallOfAFedVcpuBesideAStarvedOneIsTheHosts) {
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

TEST(MonitorHost, aStallThatOutlastsStarvationIsTheSchedulers) {
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

TEST(MonitorHost, anIdleVcpuWithWaitingTasksIsNotStarved) {
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

TEST(MonitorHost, aGuestThatHangsOnFedVcpusIsNotTheHosts) {
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

TEST(MonitorHost, depthAndImbalanceOfStarvedVcpusAreTheHosts) {
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

TEST(MonitorHost, tellsEachVcpusShareOfAHostCpu) {
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

TEST(MonitorHost, theHostIsKeptForEachPass) {
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
