#include <cmath>

#include <gtest/gtest.h>

#include "orchestrator/monitor_testing.h"

namespace ktstr {
namespace {

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

TEST(MonitorSummary, nothingIsJudgedBeforeTheScenarioBegins) {
  Machine machine({}, 100, false);
  machine.samples(1);
  machine.stalls(9);
  machine.sample([](rpc::Sample::Builder s) { s.getCpus()[0].setLocalDsqDepth(20'000); });
  EXPECT_EQ(machine.evidence().samples, 0u);
  EXPECT_EQ(machine.evidence().allSamples, 11u);
  EXPECT_TRUE(machine.evidence().implausible.empty());
  machine.analysis().beginScenario();
  machine.stalls(4);
  EXPECT_FALSE(machine.evidence().stall);
  machine.analysis().endScenario();
  machine.stalls(9);
  EXPECT_FALSE(machine.evidence().stall);
}

// The queues and clocks that it finds are another's.
TEST(MonitorSummary, aSchedulerThatComesInTheMidstOfTheScenarioMaySettle) {
  const auto deep = [](rpc::Sample::Builder s) { s.getCpus()[0].setLocalDsqDepth(60); };
  Machine machine;
  machine.samples(2);
  for (int i = 0; i < 4; ++i) machine.sample(deep);
  machine.analysis().schedulerAttached();
  machine.sample(deep);
  EXPECT_FALSE(machine.evidence().dsqDepth) << "four before and one after";
  for (int i = 0; i < 8; ++i) machine.sample(deep);
  EXPECT_FALSE(machine.evidence().dsqDepth) << "five to settle, four more";
  machine.sample(deep);
  EXPECT_TRUE(machine.evidence().dsqDepth);
  EXPECT_EQ(machine.evidence().validSamples, 16u);

  Machine stalled;
  stalled.samples(1);
  stalled.analysis().schedulerAttached();
  stalled.stalls(9);
  EXPECT_EQ(stalled.evidence().stalledSamples, 4u);
  EXPECT_FALSE(stalled.evidence().stall);

  Machine early({}, 100, false);  // before the scenario, as the scheduler under test
  early.samples(1);
  early.analysis().schedulerAttached();
  early.analysis().beginScenario();
  early.stalls(5);
  EXPECT_TRUE(early.evidence().stall);
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
