// The timeline of a real run: what is done to one cgroup in mid-step shows in its figures and in no other's,
// and the figures add up to what the workers report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "orchestrator/library/phases.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* story = R"({"name":"story","durationMs":1000,
  "backdrop":{"cgroups":[{"name":"steady","work":[{"name":"beat","type":{"bursty":{"burstUs":5000,"sleepUs":20000}}}]}]},
  "steps":[
  {"name":"run","cgroups":[
    {"name":"a","cpuset":{"exact":[0,1]},"work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]},
    {"name":"b","cpuset":{"exact":[2,3]},"work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]}],
   "ops":[{"sleepMs":1000},{"setCpuset":{"cgroup":"a","cpuset":{"exact":[0]}}},{"sleepMs":1000},
    {"freezeCgroup":"a"},{"sleepMs":1000},{"unfreezeCgroup":"a"}],"hold":{"fixedMs":1000}},
  {"name":"loop","cgroups":[{"name":"c","work":[{"name":"spin","type":{"spinWait":{}}}]}],
   "ops":[{"addCgroup":"x"},{"removeCgroup":"x"}],"hold":{"loop":{"intervalMs":20,"fraction":0.8}}},
  {"name":"change","cgroups":[{"name":"d","work":[{"name":"spin","type":{"spinWait":{}}}]}],
   "ops":[{"sleepMs":500},{"detachScheduler":null}],"hold":{"fixedMs":500}}]})";

class Timeline : public ::testing::Test {
 protected:
  // Once: one boot for all that can be asked of it.
  static void SetUpTestSuite() {
    if (whyNoKernel("debian:7.3") || whyNoScheduler("scx_simple")) return;
    const Result result = ktstr({"run", "-", "--format", "jsonl", "--kernel", "debian:7.3", "--topology",
                                 "1n2l2c1t", "--scheduler", "scx_simple"},
                                {.input = story});
    if (!result.out.empty()) record_ = new Record(result.out);
  }
  static void TearDownTestSuite() { delete record_; }
  void SetUp() override {
    KTSTR_NEED_KERNEL("debian:7.3");
    KTSTR_NEED_SCHEDULER("scx_simple");
    ASSERT_NE(record_, nullptr) << "no record";
    const Record& run = *record_;
    if (run.hasFinding("stale-breakpoint") || run.hasFinding("timer-lost")) GTEST_SKIP() << run.findings();
    ASSERT_GT(run->getTimeline().size(), 0U) << run.findings();
  }

  static PhaseResult phase(const char* name) { return phaseOf(**record_, name); }

  static Record* record_;
};
Record* Timeline::record_ = nullptr;

TEST_F(Timeline, EachChangeBeginsAPhase) {
  std::vector<std::string> names;
  for (const PhaseResult& each : phasesOf(**record_)) names.push_back(each.name());
  EXPECT_THAT(names, ElementsAre("run", "run: setCpuset a", "run: freezeCgroup a", "run: unfreezeCgroup a",
                                 "loop", "change", "change: detachScheduler"));
  double end = 0;
  for (const PhaseResult& each : phasesOf(**record_)) {
    EXPECT_GE(each.startMs(), end);
    EXPECT_NEAR(each.startMs() - each.record().getChangeMs(), end, 0.01) << "no time is left out";
    end = each.startMs() + each.durationMs();
  }
}

TEST_F(Timeline, WhatIsDoneToOneCgroupShowsInItsFigures) {
  const PhaseResult run = phase("run"), half = phase("setCpuset a"), frozen = phase("freezeCgroup a"),
                    thawed = phase("unfreezeCgroup a");
  EXPECT_GE(frozen.durationMs(), 1000);
  EXPECT_EQ(frozen.cgroup("a").iterations, 0U);
  EXPECT_EQ(frozen.cgroup("a").iterationsPerSecond, 0);
  EXPECT_LT(frozen.cgroup("a").cpuShare, 0.05);
  EXPECT_GT(frozen.cgroup("b").iterations, 0U);
  EXPECT_GT(frozen.cgroup("steady").iterations, 0U);
  for (const PhaseResult& each : {run, half, thawed}) {
    EXPECT_GT(each.cgroup("a").iterationsPerSecond, 0) << each.name();
    EXPECT_GT(each.cgroup("a").cpuShare, 0.2) << each.name();
  }
  // Two on one CPU: no more than that, and one of them waits.
  EXPECT_LT(half.cgroup("a").cpuShare, 1.4);
  EXPECT_GT(half.cgroup("a").runDelayMs, 500);
  EXPECT_LT(frozen.cgroup("a").runDelayMs, 100);
  EXPECT_EQ(run.all().workers, 5U);
  std::vector<std::string> changes;
  for (const auto change : frozen.record().getChanges()) changes.emplace_back(change.cStr());
  EXPECT_THAT(changes, Contains("a: throughput -100 %"));
}

TEST_F(Timeline, SchedulersAreNamed) {
  EXPECT_EQ(phase("run").scheduler(), "simple");
  EXPECT_EQ(phase("change").scheduler(), "simple");
  EXPECT_EQ(phase("detachScheduler").scheduler(), "eevdf");
  EXPECT_GT(phase("detachScheduler").cgroup("d").iterations, 0U);
}

// What the monitor saw from outside agrees, by the bound that the record states.
TEST_F(Timeline, SamplesHaveTheirPlaceByTheBoundOfTheClocks) {
  ASSERT_TRUE((*record_)->hasClock());
  EXPECT_GT((*record_)->getClock().getExchanges(), 0U);
  EXPECT_LT((*record_)->getClock().getErrorNs(), 500'000'000U);
  const PhaseResult frozen = phase("freezeCgroup a");
  const double certainMs =
      frozen.durationMs() - 2e-6 * static_cast<double>((*record_)->getClock().getErrorNs());
  EXPECT_LE(frozen.record().getSamples(), certainMs / 100 + 2);
  if (record_->trouble()) GTEST_SKIP() << *record_->trouble();
  EXPECT_GE(frozen.record().getSamples(), 1U);
  EXPECT_LT(frozen.record().getMeanNrRunning(), phase("setCpuset a").record().getMeanNrRunning());
}

// timeline.h has the rule: all but what they did while they were told to stop.
TEST_F(Timeline, FiguresAddUpToTheReports) {
  for (const char* cgroup : {"a", "b", "c", "d", "steady"}) {
    uint64_t reported = 0, told = 0;
    double stopMs = 0;
    for (const auto worker : (*record_)->getWorkers()) {
      if (worker.getCgroup() != cgroup) continue;
      reported += worker.getIterations();
      stopMs = std::max(stopMs, static_cast<double>(worker.getStopNs()) / 1e6);
    }
    double fastest = 0;
    for (const PhaseResult& each : phasesOf(**record_)) {
      for (const auto figures : each.record().getCgroups()) {
        if (figures.getCgroup() != cgroup) continue;
        told += figures.getIterations() + figures.getChangeIterations();
        fastest = std::max(fastest, figures.getIterationsPerSecond());
      }
    }
    EXPECT_LE(told, reported) << cgroup;
    // Thrice the fastest of a phase, for as long as they took to stop and the agent to tell them.
    EXPECT_GE(static_cast<double>(told) + 3 * fastest * (stopMs + 300) / 1000, static_cast<double>(reported))
        << cgroup;
  }
}

TEST_F(Timeline, IsShownForPeople) {
  const std::string directory = (*record_)->getDirectory().cStr();
  const Result brief = ktstr({"record", "show", directory}),
               whole = ktstr({"record", "show", directory, "--timeline"});
  EXPECT_THAT(brief.out, HasSubstr("run: unfreezeCgroup a"));
  EXPECT_THAT(whole.out, HasSubstr("  timeline\n"));
  EXPECT_THAT(whole.out, HasSubstr("> opApplied freezeCgroup a at +"));
  EXPECT_THAT(whole.out, HasSubstr(" operations, again and again"));
}

}  // namespace
}  // namespace ktstr::testing
