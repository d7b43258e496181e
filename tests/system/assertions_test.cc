// Assertions in whole runs: ratios to EEVDF in one machine, and thresholds that must fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "protocol/file.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::set<std::string> findingNames(const Record& record) {
  std::set<std::string> names;
  for (const auto finding : record->getVerdict().getFindings()) names.insert(finding.getName());
  return names;
}

// A spinner that shares CPU 0 and one that sleeps; spinners everywhere.
std::string pair(const std::string& assertions, const std::string& scheduler = "{}") {
  return R"({"name":"pair","durationMs":2000,"assertions":)" + assertions + R"(,"schedulerAssertions":)" +
         scheduler +
         R"(,"backdrop":{"cgroups":[{"name":"always","work":[{"name":"burst","type":{"bursty":{"burstUs":2000,"sleepUs":20000}}}]}]},
    "steps":[{"name":"work","cgroups":[
      {"name":"left","work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]},
      {"name":"right","cpuset":{"exact":[0]},"work":[{"name":"spin","type":{"spinWait":{}}}]}]}]})";
}

TEST(Relative, AGoodSchedulerIsComparedWithEevdfInTheSameMachine) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  const Result result =
      ktstr({"run", "-", "--topology", "1n1l2c1t", "--scheduler", "scx_simple", "--format", "jsonl"},
            {.input = pair(R"({"maxGapMs":5000,"relative":{"minThroughputRatio":0.05,"maxGapRatio":1000}})",
                           R"({"maxGapMs":1,"maxSpreadPct":80})")});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  std::set<std::string> phases, figures;
  for (const auto phase : record->getPhases()) phases.insert(phase.getName());
  EXPECT_EQ(phases.count("baseline"), 1u);

  // Both passes measured each group, and the groups are those of the first.
  for (const auto figure : record->getBaseline()) {
    const std::string name = figure.getName();
    if (name != "iterationsPerSecond") continue;
    figures.insert(std::string(figure.getCgroup()) + "/" + figure.getWork().cStr());
    EXPECT_GT(figure.getScheduler(), 0) << figure.getCgroup().cStr();
    EXPECT_GT(figure.getBaseline(), 0) << figure.getCgroup().cStr();
    for (const auto group : record->getGroups()) {
      if (group.getCgroup() == figure.getCgroup()) {
        EXPECT_EQ(group.getIterationsPerSecond(), figure.getScheduler());
      }
    }
  }
  EXPECT_THAT(figures, ElementsAre("always/burst", "left/spin", "right/spin"));
  EXPECT_EQ(record->getWorkers().size(), 4u);
  ASSERT_EQ(record->getSchedulers().size(), 1u);
  EXPECT_TRUE(record->getSchedulers()[0].getOrdered());
  const std::string events = readFile(std::string(record->getDirectory().cStr()) + "/events.jsonl");
  EXPECT_THAT(events, HasSubstr("baselineStarted"));
  EXPECT_LT(events.find("schedulerDetached"), events.find("baselineStarted"));

  std::set<std::string> limits;
  for (const auto limit : record->getLimits()) {
    const std::string name = limit.getName();
    if (limit.getOrigin() == rpc::EffectiveLimit::Origin::TEST) limits.insert("test " + name);
    if (limit.getOrigin() == rpc::EffectiveLimit::Origin::SCHEDULER) limits.insert("scheduler " + name);
  }
  EXPECT_THAT(limits, ElementsAre("scheduler maxSpreadPct", "test maxGapMs", "test relative.maxGapRatio",
                                  "test relative.minThroughputRatio"));
  EXPECT_THAT(ktstr({"record", "show", record->getDirectory().cStr()}).out, HasSubstr("beside EEVDF"));
  EXPECT_TRUE(descendants().empty());
  KTSTR_EXPECT_PASS(record);
}

TEST(Relative, ASchedulerThatStarvesACgroupFailsForThatAlone) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result built =
      ktstr({"scheduler", "path", "scx_fault", "--with", "tests/schedulers"}, {.timeoutSeconds = 600});
  for (const char* lack : {"clang-missing", "build-tool-missing", "cache-tool-failed"}) {
    if (built.err.find(lack) != std::string::npos) GTEST_SKIP() << built.err;
  }
  ASSERT_EQ(built.exitCode, 0) << built.err;
  const Result result = ktstr({"run", "-", "--topology", "1n1l2c1t", "--format", "jsonl", "--scheduler",
                               built.out.substr(0, built.out.find('\n')), "--", "--fault", "starve-cgroup",
                               "--cgroup", "right", "--after-ms", "300", "--ms", "20000"},
                              {.input = pair(R"({"maxGapMs":60000,"relative":{"minThroughputRatio":0.4}})")});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  EXPECT_EQ(result.exitCode, 1);
  ASSERT_EQ(record->getVerdict().getFindings().size(), 1u) << record.findings();
  const auto finding = record->getVerdict().getFindings()[0];
  EXPECT_STREQ(finding.getName().cStr(), "relative-throughput");
  EXPECT_STREQ(finding.getCgroup().cStr(), "right");
  EXPECT_STREQ(finding.getStep().cStr(), "work");
  EXPECT_LT(finding.getValue(), 0.4);
  EXPECT_EQ(finding.getLimit(), 0.4);
  EXPECT_THAT(finding.getMessage().cStr(), HasSubstr("under EEVDF: a ratio of "));
  EXPECT_THAT(finding.getMessage().cStr(), HasSubstr("limit 0.4 set by the test"));
}

TEST(Relative, WhatCannotBeComparedIsRefusedBeforeBoot) {
  const std::string limits = R"({"relative":{"minThroughputRatio":0.9}})";
  for (const auto& [words, input] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"run", "-"}, pair(limits)},
           {{"run", "-", "--beside-eevdf"}, pair("{}")},
           {{"run", "-", "--scheduler", "scx_simple", "--beside-eevdf"},
            R"({"name":"x","steps":[{"cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}],
                "ops":[{"detachScheduler":null}]}]})"}}) {
    const Result result = ktstr(words, {.input = input});
    EXPECT_EQ(result.exitCode, 2);
    EXPECT_THAT(result.err, HasSubstr("baseline-impossible"));
    EXPECT_THAT(result.err, Not(HasSubstr("boot")));
  }
}

// Work on memory of the other node, work that changes CPU all the time, work that sleeps, two that spin, and
// a real-time task that may not be one. That what changes CPU loses one to an operation now and then is no
// error.
constexpr const char* bad = R"({"name":"bad","durationMs":1500,
  "assertions":{"maxGapMs":60000,"maxSpreadPct":100,"maxMigrationRatio":0.01,"minPageLocality":0.9,
    "maxSlowTierRatio":0,"minWorkRate":1e12,"maxThroughputCv":0,"maxWakeLatencyCv":0},
  "steps":[{"name":"all","cgroups":[
    {"name":"far","cpuset":{"numa":0},"work":[{"name":"sweep","type":{"numaWorkingSetSweep":{"targetNodes":[1]}}}]},
    {"name":"near","cpuset":{"numa":0},"work":[{"name":"cache","type":{"cachePressure":{"sizeKib":1024}}}]},
    {"name":"restless","work":[{"name":"churn","type":{"affinityChurn":{}}}]},
    {"name":"calm","cpuset":{"numa":1},"work":[{"name":"spin","workers":2,"type":{"spinWait":{}}}]},
    {"name":"sleeps","cpuset":{"numa":1},"work":[{"name":"burst","type":{"bursty":{"burstUs":1000,"sleepUs":5000}}}]},
    {"name":"refused","uid":1000,"cpuset":{"numa":1},"work":[{"name":"rt","workers":2,"type":{"rtStarvation":{}}}]}],
   "ops":[{"sleepMs":300},{"setCpuset":{"cgroup":"restless","cpuset":{"exact":[1]}}},{"sleepMs":200},
    {"setCpuset":{"cgroup":"restless","cpuset":{"exact":[0]}}},{"sleepMs":200},{"clearCpuset":"restless"}]}]})";

TEST(Absolute, WhatMustFailDoesWithWhoAndWhy) {
  KTSTR_NEED_KERNEL("debian:7.3");
  const Result result =
      ktstr({"run", "-", "--topology", "2n2l1c1t", "--memory", "768M", "--format", "jsonl"}, {.input = bad});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  // On a slow machine the sweep may get nothing done, and then is not judged.
  EXPECT_THAT(findingNames(record),
              IsSupersetOf({"migration-ratio", "page-locality", "throughput-variation",
                            "wake-latency-variation", "work-rate", "worker-call-failed"}))
      << record.findings();
  std::set<std::string> slow;
  for (const auto finding : record->getVerdict().getFindings()) {
    const std::string name = finding.getName(), cgroup = finding.getCgroup();
    if (cgroup == "far" && (name == "worker-starved" || name == "limit-not-judged")) continue;
    EXPECT_EQ(finding.getOutcome(), rpc::Outcome::FAIL) << record.findings();
    if (name == "worker-call-failed") {
      EXPECT_STREQ(finding.getWorker().cStr(), "rt[0]");
      EXPECT_EQ(cgroup, "refused");
      EXPECT_THAT(finding.getMessage().cStr(),
                  HasSubstr("1 call failed, the last one sched_setscheduler with EPERM"));
      continue;
    }
    EXPECT_THAT(finding.getMessage().cStr(), HasSubstr(" set by the test"));
    if (name == "migration-ratio") {
      EXPECT_EQ(cgroup, "restless");
    }
    if (name == "page-locality") {
      EXPECT_EQ(cgroup, "far");
      EXPECT_LT(finding.getValue(), 0.9);
      EXPECT_THAT(finding.getEvidence().cStr(), HasSubstr("node 1: "));
    }
    if (name == "throughput-variation") {
      EXPECT_TRUE(cgroup == "calm" || cgroup == "refused");
    }
    if (name == "wake-latency-variation") {
      EXPECT_TRUE(cgroup == "sleeps" || cgroup == "far");
      EXPECT_THAT(finding.getEvidence().cStr(),
                  ContainsRegex("the longest took .* which then ran on CPU [01] .* into"));
      EXPECT_THAT(finding.getEvidence().cStr(), ContainsRegex("all lasted from .* to .* of the scenario"));
    }
    if (name == "work-rate") slow.insert(cgroup);
  }
  EXPECT_THAT(slow, IsSupersetOf({"calm", "near", "restless", "sleeps"}));
  for (const auto worker : record->getWorkers()) {
    if (worker.getCgroup() != "restless") continue;
    EXPECT_EQ(worker.getErrors(), 0U);
    EXPECT_GT(worker.getEvents(), 10U);
  }
}

// A spinner alone on its CPU runs on at the end of each slice: scx_simple has nothing else for that CPU.
TEST(Live, ASustainedViolationIsDumpedAtOnce) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  const Result result = ktstr(
      {"run", "-", "--topology", "1n1l2c1t", "--scheduler", "scx_simple", "--format", "jsonl"},
      {.input = R"({"name":"alone","durationMs":3000,"assertions":{"maxKeepLastRate":1,"maxGapMs":60000},
               "steps":[{"cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}]}]})"});
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  if (const auto trouble = record.trouble()) GTEST_SKIP() << *trouble;
  EXPECT_TRUE(record.hasFinding("keep-last-rate")) << record.findings();
  ASSERT_EQ(record->getSnapshots().size(), 1u) << "once for a run";
  const auto dump = record->getSnapshots()[0];
  EXPECT_STREQ(dump.getName().cStr(), "keep-last-rate");
  EXPECT_EQ(dump.getReason(), rpc::DumpReason::VIOLATION);
  EXPECT_STREQ(dump.getFailure().cStr(), "");
  EXPECT_GT(dump.getAtMs(), 0);
  for (const auto phase : record->getPhases()) {
    if (phase.getName() == "scenario") {
      EXPECT_LT(dump.getAtMs(), phase.getDurationMs()) << "while it went on";
    }
  }

  const auto seen = record->getMonitor();
  EXPECT_GT(seen.getSchedulesPerSecond(), 1);
  EXPECT_GE(seen.getRunDelayMsPerSecond(), 0);
  bool dispatched = false;
  for (const auto program : seen.getPrograms()) {
    if (program.getName() != "simple_dispatch") continue;
    dispatched = program.getRuns() > 10 && program.getNanosPerRun() > 0;
  }
  EXPECT_TRUE(dispatched);
}

}  // namespace
}  // namespace ktstr::testing
