// What there is little of, or too much, or what is not to be believed.
#include <gmock/gmock.h>

#include <algorithm>
#include <limits>

#include "orchestrator/timeline_testing.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using namespace timeline_testing;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(TimelineTest, withoutAMonitorTheWorkIsThere) {
  at(0, {{"a", 0}}).initStepStarted();
  at(1010, {}, 10, {{"a", 1000}}).initStepEnded();
  at(1010).setScenarioEnded();
  const auto list = phases();
  EXPECT_DOUBLE_EQ(list[0].getAll().getIterationsPerSecond(), 1000);
  EXPECT_EQ(list[0].getSamples(), 0U);
}

TEST_F(TimelineTest, whatTheGuestMergedIsComparedMerged) {
  at(0, {{"a", 10}, {"b", 20}}).initStepStarted();
  op(1010, 0, 10, {{"*", 1030, 0, 0, ""}}, {{"a", 500, 0, 0, ""}, {"b", 600, 0, 0, ""}});
  at(2010, {}, 1000, {{"a", 400}, {"a", 400, 0, 0, "rest"}, {"b", 900}}).initStepEnded();
  at(2010).setScenarioEnded();
  const auto list = phases();
  ASSERT_EQ(list.size(), 2U) << "the rest is one change";
  EXPECT_EQ(list[1].getDurationMs(), 0) << "which ends the scenario";
  EXPECT_EQ(list[0].getAll().getIterations(), 1000U);
  EXPECT_EQ(list[0].getCgroups().size(), 0U);
  messages_.pop_back();
  messages_.pop_back();
  at(3010, {}, 1000, {{"a", 400}, {"a", 400, 0, 0, "rest"}, {"b", 900}}).initStepEnded();
  at(3010).setScenarioEnded();
  const auto again = phases();
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[1].getCgroups()[0].getIterations(), 300U);
  EXPECT_EQ(again[1].getCgroups()[1].getIterations(), 300U);
}

TEST_F(TimelineTest, aHostileGuestGetsABoundedTimeline) {
  const uint64_t most = std::numeric_limits<uint64_t>::max();
  uint64_t random = 1;
  const auto next = [&] { return random = random * 6364136223846793005U + 1442695040888963407U; };
  for (uint32_t i = 0; i < 100'000; i++) {
    auto event = at(i * 150, {{"a", next()}, {"b", most}});
    if (i % 7 == 0) event.setAtNs(next());
    if (i % 5 == 0) event.setBeganNs(next());
    if (i % 3 == 0) {
      event.initStepStarted().setStep(static_cast<uint32_t>(next()));
    } else if (i % 3 == 1) {
      event.initOpApplied().setOp(static_cast<uint32_t>(next()));
      event.getOpApplied().setDetail("\x1b[2J");
    } else {
      event.initSchedulerAttached().setOpsName("\xff\x1b]0;x");
    }
  }
  sampleUntil(60'000);
  const auto list = phases();
  EXPECT_LE(list.size(), maxPhases);
  for (const auto phase : list) {
    EXPECT_LE(phase.getStimuli().size(), 2 * maxPhaseStimuli);
    EXPECT_GE(phase.getDurationMs(), 0);
  }
  EXPECT_THAT(rendered(TimelineView::whole), Not(HasSubstr("\x1b")));
}

TEST_F(TimelineTest, manyPhasesAndCgroupsAreCut) {
  std::vector<std::string> names;
  for (int i = 0; i < 100; i++) names.push_back(text("cgroup", i));
  Groups groups;
  for (const std::string& name : names) groups.push_back({name.c_str(), 5});
  at(0, groups).initStepStarted();
  for (uint32_t i = 1; i < 3000; i++) op(300 * i, 0, 10, groups, groups);
  at(900'000, {}, 10, groups).initStepEnded();
  at(900'001).setScenarioEnded();
  const auto list = phases();
  EXPECT_LE(list.size(), maxPhases);
  EXPECT_GE(list.size(), maxPhases / 10);
  EXPECT_EQ(list[1].getCgroups().size(), maxPhaseCgroups);
  EXPECT_EQ(list[1].getCgroupsLeftOut(), 100 - maxPhaseCgroups);
  EXPECT_EQ(list[1].getAll().getWorkers(), 200U);
  EXPECT_GT(list[1].getStimuliLeftOut() + list[1].getStimuli().size(), 1U);
  const std::string brief = rendered(TimelineView::brief);
  EXPECT_THAT(brief, HasSubstr(" more phases\n      all of it: ktstr record show "));
  EXPECT_LT(std::count(brief.begin(), brief.end(), '\n'), 70);
}

TEST_F(TimelineTest, withoutAScenarioThereIsNone) {
  messages_.clear();
  EXPECT_EQ(phases().size(), 0U);
  at(5, {{"a", 0}}).initStepStarted();
  EXPECT_EQ(phases().size(), 0U);
  EXPECT_THAT(rendered(TimelineView::whole), HasSubstr("never began"));
}

}  // namespace
}  // namespace ktstr
