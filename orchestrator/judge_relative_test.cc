#include <limits>

#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

using Report = rpc::WorkerReport::Builder;

// One relative limit; what makes the scheduler's figure of group "a" (or "b") exactly twice or half of
// EEVDF's.
struct Relation {
  const char* name;
  const char* finding;
  void (*limit)(rpc::Relative::Builder, double);
  double good, bad;  // limits that the figures meet exactly, and do not meet
  size_t worker;     // whose report is changed
  void (*ours)(Report);
  void (*eevdfs)(Report);
  void (*unknown)(Report);  // EEVDF's figure was not measured
  const char* message;
  const char* worst = "spinWait[0]";
};

void latency(Report report, uint64_t us) {
  auto bucket = report.initWakeLatency(1)[0];
  bucket.setUpperNs(us * 1000);
  bucket.setCount(100);
}
void delay(Report report, uint64_t us) {
  report.setRunDelayValid(true);
  report.setRunDelayNs(us * 1000);
  report.setTimeslices(1);
}

const Relation relations[] = {
    {"minThroughputRatio", "relative-throughput",
     [](auto to, double value) { to.setMinThroughputRatio(value); }, 0.5, 0.51, 0,
     [](Report report) { report.setIterations(500); }, [](Report report) { report.setIterations(2000); },
     [](Report report) { report.setWallNs(0); },
     "throughput of \"spinWait\" in cgroup \"a\" of main is 750 iterations/s under scx_simple, 1500 "
     "iterations/s "
     "under EEVDF: a ratio of 0.5, limit 0.51 set by the test"},
    {"maxP99WakeLatencyRatio", "relative-wake-latency",
     [](auto to, double value) { to.setMaxP99WakeLatencyRatio(value); }, 2, 1.9, 2,
     [](Report report) { latency(report, 800); }, [](Report report) { latency(report, 400); },
     [](Report report) { report.initWakeLatency(0); }, "is 800 us under scx_simple, 400 us under EEVDF",
     "bursty[0]"},
    {"maxMeanRunDelayRatio", "relative-run-delay",
     [](auto to, double value) { to.setMaxMeanRunDelayRatio(value); }, 2, 1.9, 0,
     [](Report report) { delay(report, 300); }, [](Report report) { delay(report, 150); },
     [](Report report) { report.setRunDelayValid(false); }, "is 300 us under scx_simple, 150 us under EEVDF"},
    {"maxGapRatio", "relative-gap", [](auto to, double value) { to.setMaxGapRatio(value); }, 2, 1.9, 0,
     [](Report report) { report.setMaxGapNs(600'000'000); },
     [](Report report) { report.setMaxGapNs(300'000'000); }, [](Report report) { report.setWallNs(0); },
     "is 600 ms under scx_simple, 300 ms under EEVDF: a ratio of 2"},
    {"maxMigrationRatio", "relative-migrations",
     [](auto to, double value) { to.setMaxMigrationRatio(value); }, 2, 1.9, 0,
     [](Report report) { report.setMigrations(190); }, [](Report report) { report.setMigrations(90); },
     [](Report report) { report.setIterations(0); },
     "is 0.1 under scx_simple, 0.05 under EEVDF: a ratio of 2"},
    {"maxSpreadDifferencePct", "relative-spread",
     [](auto to, double value) { to.setMaxSpreadDifferencePct(value); }, 10, 9.9, 0,
     [](Report report) { report.setCpuNs(1'300'000'000); },
     [](Report report) { report.setCpuNs(1'100'000'000); }, [](Report report) { report.setWallNs(0); },
     "is 15 points under scx_simple, 5 points under EEVDF: 10 points more", "spinWait[1]"},
};

void PrintTo(const Relation& relation, std::ostream* out) {
  *out << relation.name;
}

class JudgeRelative : public ::testing::TestWithParam<Relation> {
 protected:
  // Two passes with the limit; other figures of the worker that has no second one are left out.
  void limit(double value) { GetParam().limit(run_.scenario().getAssertions().getRelative(), value); }
  void makePasses() {
    // A worker alone cannot hide another's figure.
    GetParam().ours(run_.report(GetParam().worker));
    if (std::string(GetParam().name) == "maxP99WakeLatencyRatio") GetParam().ours(run_.report(3));
    run_.runBaseline();
    GetParam().eevdfs(run_.report(GetParam().worker));
    if (std::string(GetParam().name) == "maxP99WakeLatencyRatio") GetParam().eevdfs(run_.report(3));
    run_.drop(rpc::GuestEvent::STEP_ENDED);
  }
  GoodRun run_;
};

TEST_P(JudgeRelative, comparesStrictlyAndPrintsBoth) {
  makePasses();
  expectPass(run_.judge());
  limit(GetParam().good);
  // Of groups without the figure in either pass it says so; they are not the subject here.
  for (const Finding& finding : run_.judge().findings) EXPECT_EQ(finding.name, "limit-not-judged");
  limit(GetParam().bad);
  const Judgement judgement = run_.judge();
  ASSERT_FALSE(judgement.findings.empty());
  const Finding& finding = judgement.findings.front();
  EXPECT_EQ(finding.name, GetParam().finding) << describe(judgement);
  EXPECT_EQ(finding.outcome, Outcome::FAIL);
  EXPECT_DOUBLE_EQ(finding.limit, GetParam().bad);
  EXPECT_THAT(finding.message, HasSubstr(GetParam().message));
  EXPECT_EQ(finding.step, "main");
  EXPECT_EQ(finding.cgroup, GetParam().worker < 2 ? "a" : "b");
  EXPECT_EQ(finding.worker, GetParam().worst);
  EXPECT_THAT(finding.evidence, HasSubstr(std::string("under scx_simple ") + GetParam().worst + ": "));
  EXPECT_THAT(finding.evidence, HasSubstr(std::string("\nunder EEVDF ") + GetParam().worst + ": "));
}

TEST_P(JudgeRelative, isInconclusiveWithoutAMeasurementUnderEevdf) {
  makePasses();
  limit(GetParam().good);
  for (size_t i = 0; i < 4; ++i) GetParam().unknown(run_.report(i));
  const Judgement judgement = run_.judge();
  EXPECT_EQ(judgement.outcome, Outcome::INCONCLUSIVE) << describe(judgement);
  for (const Finding& finding : judgement.findings) {
    EXPECT_EQ(finding.name, "limit-not-judged");
    EXPECT_THAT(finding.message, HasSubstr("was not measured under"));
  }
}

TEST_P(JudgeRelative, isInconclusiveWithoutASecondPass) {
  limit(GetParam().good);
  EXPECT_THAT(expectOnly(run_.judge(), "baseline-failed", Outcome::INCONCLUSIVE).message,
              HasSubstr("it never began"));
}

INSTANTIATE_TEST_SUITE_P(Each, JudgeRelative, ::testing::ValuesIn(relations),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(JudgeBaseline, zeroUnderEevdfIsNoDenominator) {
  GoodRun run;
  run.scenario().getAssertions().getRelative().setMaxMigrationRatio(2);
  run.runBaseline();
  for (size_t i = 0; i < 2; ++i) run.report(i).setMigrations(0);
  EXPECT_THAT(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
              HasSubstr("under EEVDF is 0"));
}

TEST(JudgeBaseline, theSchedulersFiguresAreThoseOfTheFirstPassAlone) {
  GoodRun run;
  run.besideEevdf = true;
  run.runBaseline();
  run.report(0).setMaxGapNs(9'000'000'000);
  run.report(1).setWorkUnits(0);
  run.report(1).setIterations(0);
  expectPass(run.judge());
}

TEST(JudgeBaseline, whatFailsUnderEevdfIsNotTheSchedulers) {
  GoodRun run;
  run.besideEevdf = true;
  run.runBaseline();
  run.failure(rpc::GuestFailureName::WORKER_CRASHED, "pid 99 ended with SIGBUS");
  EXPECT_THAT(expectOnly(run.judge(), "baseline-failed", Outcome::INCONCLUSIVE).message, HasSubstr("pid 99"));
  GoodRun incomplete;
  incomplete.besideEevdf = true;
  incomplete.event().setBaselineStarted();
  incomplete.event().initStepStarted();
  EXPECT_THAT(expectOnly(incomplete.judge(), "baseline-failed", Outcome::INCONCLUSIVE).message,
              HasSubstr("0 of 2 workers of \"spinWait\" in cgroup \"a\" reported"));
  GoodRun leftovers;
  leftovers.besideEevdf = true;
  leftovers.runBaseline();
  leftovers.failure(rpc::GuestFailureName::TEARDOWN_INCOMPLETE, "tasks are left");
  expectOnly(leftovers.judge(), "teardown-incomplete", Outcome::FAIL);
}

TEST(JudgeBaseline, isNothingToCompareWithIfItsCallsFailed) {
  GoodRun run;
  run.besideEevdf = true;
  run.runBaseline();
  run.report(3).setErrors(1);
  EXPECT_THAT(expectOnly(run.judge(), "baseline-failed", Outcome::INCONCLUSIVE).message,
              HasSubstr("calls of bursty[1] in cgroup \"b\" failed"));
}

TEST(JudgeBaseline, aHostThatStarvedEitherPassDecidesNothing) {
  GoodRun slow;  // half as much as EEVDF, in 2 s
  slow.scenario().getAssertions().getRelative().setMinThroughputRatio(0.8);
  for (size_t i = 0; i < 2; ++i) slow.report(i).setIterations(500);
  slow.runBaseline();
  slow.monitor.starved = {{0, 0, 700, 0}};  // 500 of 1.3 s: 0.77
  expectOnly(slow.judge(), "relative-throughput", Outcome::FAIL);
  slow.monitor.starved = {{0, 0, 800, 0}};
  expectOnly(slow.judge(), "host-starved", Outcome::INCONCLUSIVE);

  GoodRun fast;  // as fast as an EEVDF whose gap is the host's
  fast.scenario().getAssertions().getRelative().setMaxGapRatio(2);
  fast.report(0).setMaxGapNs(500'000'000);
  fast.runBaseline();
  fast.report(0).setMaxGapNs(500'000'000);
  fast.report(0).setMaxGapAtNs(700'000'000);
  for (size_t i = 1; i < 4; ++i) fast.report(i).setMaxGapAtNs(1'900'000'000);
  expectPass(fast.judge());
  fast.monitor.baselineStarved = {{1, 300, 600, 0}};
  expectOnly(fast.judge(), "host-starved", Outcome::INCONCLUSIVE);
}

TEST(JudgeBaseline, aSecondPassThatTakesTooLongIsNotTheSchedulers) {
  GoodRun run;
  run.besideEevdf = true;
  run.runBaseline();
  run.drop(rpc::GuestEvent::DONE);
  run.lifecycle.phase = RunPhase::baseline;
  run.lifecycle.timedOutAfterMs = 20'000;
  expectOnly(run.judge(), "timeout-baseline", Outcome::INCONCLUSIVE);
}

}  // namespace
}  // namespace ktstr
