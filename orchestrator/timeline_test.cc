#include "orchestrator/timeline.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>

#include "orchestrator/render_timeline.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t start = 1000 * ms;  // the scenario's, by the guest's clock
constexpr uint64_t hostAhead = 50'000 * ms;

struct Group {
  const char* cgroup;
  uint64_t iterations, cpuMs = 0;
  uint32_t step = 0;
  const char* work = "spin";
};
using Groups = std::vector<Group>;

class TimelineTest : public ::testing::Test {
 protected:
  TimelineTest() {
    fromJson(R"({"name":"x","steps":[
      {"name":"run","cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}],
       "ops":[{"freezeCgroup":"a"},{"sleepMs":500},{"unfreezeCgroup":"a"},{"swapCpusets":{"a":"a","b":"b"}}]},
      {"name":"loop","ops":[{"addCgroup":"c"},{"removeCgroup":"c"}],"hold":{"loop":{}}}]})",
             scenario_->initRoot<rpc::Scenario>());
    at(0).setScenarioStarted();
  }

  // An event `afterMs` into the scenario, which began `tookMs` before.
  rpc::GuestEvent::Builder at(uint64_t afterMs, const Groups& progress = {}, uint64_t tookMs = 0,
                              const Groups& before = {}) {
    messages_.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    auto event = messages_.back()->initRoot<rpc::GuestEvent>();
    event.setAtNs(start + afterMs * ms);
    fill(progress, event.initProgress(static_cast<unsigned>(progress.size())));
    if (tookMs > 0) event.setBeganNs(start + (afterMs - tookMs) * ms);
    fill(before, event.initBefore(static_cast<unsigned>(before.size())));
    return event;
  }
  void op(uint64_t afterMs, uint32_t index, uint64_t tookMs, const Groups& before, const Groups& after,
          uint32_t step = 0) {
    auto applied = at(afterMs, after, tookMs, before).initOpApplied();
    applied.setStep(step);
    applied.setOp(index);
  }

  // Samples every 100 ms until then, at the guest's 50, 150, ... ms.
  void sampleUntil(uint64_t untilMs) {
    for (uint64_t t = 50; t < untilMs; t += 100) {
      TimelineSample sample;
      sample.atNs = hostAhead + start + t * ms;
      sample.imbalance = 2;
      samples_.push_back(sample);
    }
  }

  capnp::List<rpc::TimelinePhase>::Reader phases() {
    std::vector<rpc::GuestEvent::Reader> events;
    for (const auto& message : messages_) events.push_back(message->getRoot<rpc::GuestEvent>().asReader());
    auto record = record_->initRoot<rpc::RunRecord>();
    writeTimeline({scenario_->getRoot<rpc::Scenario>().asReader(), events, samples_, clock_}, record);
    return record.asReader().getTimeline();
  }
  std::vector<std::string> names() {
    std::vector<std::string> list;
    for (const auto phase : phases()) list.emplace_back(phase.getName().cStr());
    return list;
  }
  std::string rendered(TimelineView view) {
    return renderTimeline(record_->getRoot<rpc::RunRecord>().asReader(), view, false);
  }

  // Whose destructors may throw, as a fixture's may not.
  std::unique_ptr<capnp::MallocMessageBuilder> scenario_ = std::make_unique<capnp::MallocMessageBuilder>(),
                                               record_ = std::make_unique<capnp::MallocMessageBuilder>();
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages_;
  std::vector<TimelineSample> samples_;
  std::optional<ClockOffset> clock_ = ClockOffset{static_cast<int64_t>(hostAhead), ms, 1, 1};

 private:
  static void fill(const Groups& groups, capnp::List<rpc::GroupProgress>::Builder out) {
    for (unsigned i = 0; i < out.size(); i++) {
      out[i].setStep(groups[i].step);
      out[i].setCgroup(groups[i].cgroup);
      out[i].setWork(groups[i].work);
      out[i].setWorkers(2);
      out[i].setIterations(groups[i].iterations);
      out[i].setCpuNs(groups[i].cpuMs * ms);
      out[i].setTimesValid(true);
    }
  }
};

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
              HasSubstr("> opApplied freezeCgroup a at +1.04 s, took 20.0 ms"));
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
}

TEST_F(TimelineTest, theSecondRunIsMarked) {
  for (const uint64_t from : {0, 3000}) {
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
  ASSERT_EQ(list.size(), 1U) << "the rest is one change";
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

TEST(TimelineSamples, takesFromASampleWhatTheTimelineShows) {
  TimelineSamples samples;
  const auto add = [&](const char* json) {
    capnp::MallocMessageBuilder message;
    fromJson(json, message.initRoot<rpc::MonitorRecord>());
    samples.add(message.getRoot<rpc::MonitorRecord>().asReader());
  };
  add(R"({"attached":{"scxEventNames":["SCX_EV_DISPATCH_KEEP_LAST","X","SCX_EV_SELECT_CPU_FALLBACK"]}})");
  add(R"({"sample":{"atNs":100,"cpus":[
    {"cpu":0,"valid":true,"nrRunning":3,"clock":5,"scxValid":true,"localDsqDepth":4,"scxEvents":[1,2,3]},
    {"cpu":1,"valid":true,"nrRunning":1,"clock":5,"scxValid":true,"localDsqDepth":0,"scxEvents":[10,20,30]}]}})");
  add(R"({"sample":{"atNs":50,"cpus":[]}})");
  add(R"({"sample":{"atNs":200,"cpus":[{"cpu":0,"scxValid":true,"localDsqDepth":20000}]}})");
  add(R"({"sample":{"atNs":300,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":5,"currPid":7}]}})");
  add(R"({"sample":{"atNs":400,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":5,"currPid":7}]}})");
  ASSERT_EQ(samples.all().size(), 3U);
  const TimelineSample& first = samples.all()[0];
  EXPECT_EQ(first.imbalance, 3);
  EXPECT_EQ(first.maxDsqDepth, 4);
  EXPECT_EQ(first.dsqDepth, 2);
  EXPECT_EQ(first.nrRunning, 2);
  EXPECT_EQ(first.fallback, 33U);
  EXPECT_EQ(first.keepLast, 11U);
  EXPECT_FALSE(first.stalled);
  EXPECT_TRUE(samples.all()[2].stalled);
  EXPECT_FALSE(samples.all()[2].dsqDepth);
  EXPECT_FALSE(samples.all()[2].fallback);
}

}  // namespace
}  // namespace ktstr
