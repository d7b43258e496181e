#include "orchestrator/timeline.h"

#include <gmock/gmock.h>

#include <cmath>

#include "orchestrator/timeline_testing.h"

namespace ktstr {
namespace {

using namespace timeline_testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(TimelineTest, phasesHoldWhatWasDoneBetweenChanges) {
  at(20, {{"a", 0}, {"b", 0}}, 15).initStepStarted();
  op(1040, 0, 20, {{"a", 1000, 1000}, {"b", 3000}}, {{"a", 1010, 1010}, {"b", 3060}});
  op(1540, 1, 499, {}, {});  // the sleep
  op(1550, 2, 5, {{"a", 1010, 1010}, {"b", 5060}}, {{"a", 1020, 1012}, {"b", 5080}});
  at(2600, {}, 50, {{"a", 2020, 2012}, {"b", 6080}}).initStepEnded();
  at(2601).setScenarioEnded();
  sampleUntil(2600);
  samples_[11].imbalance = 5;  // at 1150 ms
  const auto list = phases();
  ASSERT_EQ(list.size(), 3U);

  EXPECT_STREQ(list[0].getName().cStr(), "run");
  EXPECT_STREQ(list[0].getScheduler().cStr(), "eevdf");
  EXPECT_DOUBLE_EQ(list[0].getStartMs(), 20);
  EXPECT_DOUBLE_EQ(list[0].getDurationMs(), 1000);
  EXPECT_DOUBLE_EQ(list[0].getChangeMs(), 20);
  EXPECT_EQ(list[0].getSamples(), 10U);
  EXPECT_DOUBLE_EQ(list[0].getAll().getIterationsPerSecond(), 4000);
  EXPECT_EQ(list[0].getAll().getWorkers(), 4U);
  EXPECT_EQ(list[0].getStimuli().size(), 2U);
  EXPECT_EQ(list[0].getChanges().size(), 0U);

  EXPECT_STREQ(list[1].getName().cStr(), "run: freezeCgroup a");
  EXPECT_DOUBLE_EQ(list[1].getDurationMs(), 505);
  ASSERT_EQ(list[1].getCgroups().size(), 2U);
  const auto frozen = list[1].getCgroups()[0], other = list[1].getCgroups()[1];
  EXPECT_STREQ(frozen.getCgroup().cStr(), "a");
  EXPECT_EQ(frozen.getIterationsPerSecond(), 0);
  EXPECT_EQ(frozen.getCpuShare(), 0);
  EXPECT_EQ(frozen.getChangeIterations(), 10U);
  EXPECT_EQ(other.getIterations(), 2000U);
  EXPECT_DOUBLE_EQ(list[1].getMaxImbalanceRatio(), 5);
  std::vector<std::string> changes;
  for (const auto change : list[1].getChanges()) changes.emplace_back(change.cStr());
  EXPECT_THAT(changes, ElementsAre("a: throughput -100 %", "b: throughput +32 %", "imbalance +0.6"));

  EXPECT_STREQ(list[2].getName().cStr(), "run: unfreezeCgroup a");
  EXPECT_DOUBLE_EQ(list[2].getCgroups()[0].getIterationsPerSecond(), 1000);
  EXPECT_DOUBLE_EQ(list[2].getCgroups()[0].getCpuShare(), 1);
  EXPECT_STREQ(list[2].getChanges()[1].cStr(), "a: throughput from 0 to 1000 /s");

  // All that a worker did before it was told to stop is in one of them.
  uint64_t sum = 0;
  for (const auto phase : list)
    sum += phase.getCgroups()[0].getIterations() + phase.getCgroups()[0].getChangeIterations();
  EXPECT_EQ(sum, 2020U);
  EXPECT_THAT(rendered(TimelineView::brief), HasSubstr("run: unfreezeCgroup a"));
  EXPECT_THAT(rendered(TimelineView::whole),
              HasSubstr("> opApplied freezeCgroup a at +1.04 s, took 20.0 ms, after 4070 iterations"));
}

TEST_F(TimelineTest, eachStimulusHasTheIterationsUntilThen) {
  for (const uint64_t from : {uint64_t{0}, uint64_t{3000}}) {
    if (from > 0) at(from).setBaselineStarted();
    at(from + 5, {{"a", 0}, {"b", 0}}, 4).initStepStarted();
    at(from + 1000).initWorker().setIterations(100);  // of "b", which is stopped
    op(from + 1000, 0, 2, {}, {{"a", 50}});
    at(from + 1900).initWorker().setIterations(90);
    at(from + 2000, {}, 95, {{"a", 80}}).initStepEnded();
    if (from == 0) at(2001).setScenarioEnded();
  }
  at(5101).initDone();
  std::vector<double> counts;
  for (const auto phase : phases()) {
    for (const auto stimulus : phase.getStimuli()) counts.push_back(stimulus.getIterations());
  }
  // Start, step and operation of both; what ends the first begins the second.
  EXPECT_THAT(counts, ElementsAre(0, 0, 150, 190, 190, 0, 0, 150, 190)) << rendered(TimelineView::whole);
}

TEST_F(TimelineTest, whatIsCloseTogetherIsOneChange) {
  at(5, {{"a", 0}}, 4).initStepStarted();
  op(30, 0, 2, {{"a", 10}}, {{"a", 11}});
  op(60, 3, 2, {{"a", 20}}, {{"a", 22}});
  at(1060, {}, 3, {{"a", 1022}}).initStepEnded();
  at(1061).setScenarioEnded();
  const auto list = phases();
  ASSERT_EQ(list.size(), 1U);
  EXPECT_STREQ(list[0].getName().cStr(), "run");
  EXPECT_EQ(list[0].getStimuli().size(), 4U);
  EXPECT_STREQ(list[0].getStimuli()[3].getDetail().cStr(), "swapCpusets a b");
  EXPECT_DOUBLE_EQ(list[0].getDurationMs(), 997);
  EXPECT_EQ(list[0].getAll().getIterations(), 1000U);
  EXPECT_EQ(list[0].getAll().getChangeIterations(), 22U);
  EXPECT_EQ(rendered(TimelineView::brief), "") << "a run of one phase";
}

TEST_F(TimelineTest, anOperationSwallowsWhatItCaused) {
  at(1).initSchedulerAttached().setOpsName("simple");
  at(5, {{"a", 0}}, 4).initStepStarted();
  auto exited = at(1300, {{"a", 1000}}).initSchedulerExited();
  exited.setExpected(true);
  at(1320, {{"a", 1010}}).initSchedulerDetached().setOpsName("simple");
  at(2400, {{"a", 1100}}).initSchedulerAttached().setOpsName("other");
  op(2401, 0, 1396, {{"a", 800}}, {{"a", 1101}});
  at(4000, {{"a", 2000}}).initSchedulerExited().setSignal(11);
  const auto list = phases();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_STREQ(list[0].getScheduler().cStr(), "simple");
  EXPECT_DOUBLE_EQ(list[0].getDurationMs(), 1000);
  EXPECT_EQ(list[0].getAll().getIterations(), 800U);
  EXPECT_STREQ(list[1].getScheduler().cStr(), "other");
  EXPECT_EQ(list[1].getStimuli().size(), 4U);
  EXPECT_EQ(list[1].getAll().getChangeIterations(), 301U);
  EXPECT_STREQ(list[2].getName().cStr(), "run: schedulerExited signal 11");
  EXPECT_STREQ(list[2].getScheduler().cStr(), "eevdf");
  EXPECT_TRUE(std::isnan(list[2].getAll().getIterationsPerSecond())) << "its end was not told";
}

TEST_F(TimelineTest, anOperationThatEndsAllIsTold) {
  at(5, {{"a", 0}}, 4).initStepStarted();
  op(1000, 0, 2, {{"a", 100}}, {{"a", 101}});
  at(1050, {}, 3, {{"a", 110}}).initStepEnded();
  at(1061).setScenarioEnded();
  sampleUntil(1500);
  const auto list = phases();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_STREQ(list[1].getName().cStr(), "after run");
  EXPECT_EQ(list[1].getDurationMs(), 0);
  EXPECT_EQ(list[1].getSamples(), 0U);
  EXPECT_EQ(list[1].getChanges().size(), 0U);
  ASSERT_EQ(list[1].getStimuli().size(), 3U);
  EXPECT_STREQ(list[1].getStimuli()[0].getDetail().cStr(), "freezeCgroup a");
  EXPECT_THAT(rendered(TimelineView::whole), HasSubstr("> opApplied freezeCgroup a at +1.00 s"));
}

TEST_F(TimelineTest, aLoopIsOnePhase) {
  at(5, {{"a", 0, 0, 1}}, 4).initStepStarted().setStep(1);
  for (uint32_t round = 0; round < 400; round++) {
    op(10 + 20 * round, 0, 1, {}, {}, 1);
    op(12 + 20 * round, 1, 1, {}, {}, 1);
  }
  at(9000, {}, 100, {{"a", 8895, 0, 1}}).initStepEnded().setStep(1);
  at(9001).setScenarioEnded();
  const auto list = phases();
  ASSERT_EQ(list.size(), 1U);
  EXPECT_DOUBLE_EQ(list[0].getAll().getIterationsPerSecond(), 1000);
  EXPECT_STREQ(list[0].getStimuli()[2].getDetail().cStr(), "800 operations, again and again");
  EXPECT_TRUE(std::isnan(list[0].getStimuli()[2].getIterations()));
}

TEST_F(TimelineTest, theSecondRunIsMarked) {
  for (const uint64_t from : {uint64_t{0}, uint64_t{3000}}) {
    if (from > 0) at(from).setBaselineStarted();
    at(from + 5, {{"a", 0}}, 4).initStepStarted();
    at(from + 1100, {}, 95, {{"a", 500 + from}}).initStepEnded();
    if (from > 0) continue;
    at(1101).setScenarioEnded();
    at(2500).initSchedulerExited().setExpected(true);
  }
  at(4101).initDone();
  EXPECT_THAT(names(), ElementsAre("run", "baseline: run"));
  const auto list = phases();
  EXPECT_FALSE(list[0].getBaseline());
  EXPECT_TRUE(list[1].getBaseline());
  EXPECT_EQ(list[1].getAll().getIterations(), 3500U);
  EXPECT_EQ(list[1].getAll().getChangeIterations(), 0U);
  EXPECT_STREQ(list[1].getChanges()[0].cStr(), "throughput +600 %");
}

TEST_F(TimelineTest, samplesNearABoundaryBelongToNobody) {
  at(0, {{"a", 0}}).initStepStarted();
  op(1000, 0, 10, {{"a", 10}}, {{"a", 10}});
  at(2000, {}, 10, {{"a", 10}}).initStepEnded();
  at(2000).setScenarioEnded();
  sampleUntil(2000);
  EXPECT_EQ(phases()[0].getSamples(), 10U);
  clock_->errorNs = 60 * ms;
  EXPECT_EQ(phases()[0].getSamples(), 8U);
  clock_->errorNs = 3000 * ms;
  EXPECT_EQ(phases()[0].getSamples(), 0U);
  clock_.reset();
  EXPECT_EQ(phases()[1].getSamples(), 0U);
  EXPECT_TRUE(std::isnan(phases()[1].getMeanImbalanceRatio()));
}

TEST_F(TimelineTest, countersGiveRatesUntilTheyBeginAnew) {
  at(0, {{"a", 0}}).initStepStarted();
  at(2000, {}, 10, {{"a", 10}}).initStepEnded();
  at(2000).setScenarioEnded();
  sampleUntil(1000);
  for (size_t i = 0; i < samples_.size(); i++) samples_[i].fallback = i < 5 ? 100 * i : 1000 * (i - 5);
  samples_[2].stalled = true;
  const auto phase = phases()[0];
  EXPECT_DOUBLE_EQ(phase.getFallbackRate(), (400 + 4000) / 0.8);
  EXPECT_TRUE(std::isnan(phase.getKeepLastRate()));
  EXPECT_EQ(phase.getStalledSamples(), 1U);
}

}  // namespace
}  // namespace ktstr
