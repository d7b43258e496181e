#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

Sustained sustained(int32_t cpu, double value) {
  return {cpu, 6, 17, 1700, value};
}

TEST(JudgeMonitor, namesAStalledSchedulerWithCpuAndTime) {
  GoodRun run;
  run.monitor.stall = sustained(2, 123456);
  const Finding finding = expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL);
  EXPECT_EQ(finding.cpu, 2);
  EXPECT_THAT(finding.message, HasSubstr("CPU 2 was busy under scx_simple"));
  EXPECT_THAT(finding.message, HasSubstr("6 consecutive samples, until 1700 ms after the first (sample 17)"));
  run.scenario().getAssertions().setFailOnStall(rpc::Choice::NO);
  expectPass(run.judge());
}

TEST(JudgeMonitor, doesNotCallACpuBusyThatIdledBesideItsTasks) {
  GoodRun run;
  run.monitor.stall = sustained(2, 123456);
  run.monitor.stall->idle = true;
  const Finding finding = expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL);
  EXPECT_THAT(finding.message, HasSubstr("CPU 2 idled under scx_simple with tasks on its runqueue"));
  EXPECT_THAT(finding.hint, HasSubstr("scx_bpf_kick_cpu"));
  run.event().initSchedulerExited().setExitCode(0);
  run.console =
      "sched_ext: BPF scheduler \"simple\" disabled (runnable task stall)\n"
      "sched_ext: simple: watchdog failed to check in for 5.001s\n";
  EXPECT_THAT(expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL).message,
              HasSubstr("watchdog failed to check in"));
}

TEST(JudgeMonitor, namesAllCpusThatStoodStillTogether) {
  GoodRun run;
  run.monitor.stall = sustained(1, 123456);
  run.monitor.stall->also = {0, 3};
  EXPECT_THAT(
      expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL).message,
      HasSubstr("CPU 1 was busy under scx_simple but its runqueue clock stood still, and with it that of "
                "CPU 0,3 in 6"));
}

TEST(JudgeMonitor, blamesTheHostForAStallItCannotTellApart) {
  GoodRun run;
  run.monitor.starvedStall = sustained(2, 123456);
  run.monitor.starvedStall->fromMs = 1100;
  run.monitor.starved = {{1, 0, 1000, 0}, {2, 1100, 1700, 3}};
  const Finding finding = expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  EXPECT_THAT(finding.message, HasSubstr("CPU 2 was busy under scx_simple"));
  EXPECT_THAT(finding.message,
              HasSubstr("the host gave vCPU 2 only 3 ms of CPU time in 600 ms (0.5 %), between "
                        "1100 and 1700 ms of the scenario"));
  run.monitor.stall = sustained(1, 123456);
  expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL);
}

TEST(JudgeMonitor, blamesTheHostForDepthAndImbalanceOfStarvedVcpus) {
  GoodRun run;
  run.monitor.starvedDsqDepth = sustained(1, 51);
  run.monitor.starved = {{1, 0, 2000, 3}};
  EXPECT_EQ(expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE).value, 51);
  run.monitor.starvedDsqDepth.reset();
  run.monitor.starvedImbalance = sustained(-1, 5);
  expectPass(run.judge());
  run.scenario().getAssertions().setMaxImbalanceRatio(4);
  EXPECT_EQ(expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE).cpu, 1);
}

TEST(JudgeMonitor, judgesLocalDsqDepthOfSchedExtAlone) {
  GoodRun run;
  run.monitor.dsqDepth = sustained(1, 51);
  const Finding finding = expectOnly(run.judge(), "local-dsq-depth", Outcome::FAIL);
  EXPECT_EQ(finding.value, 51);
  EXPECT_EQ(finding.limit, 50);
  GoodRun eevdf("");
  eevdf.monitor.dsqDepth = sustained(1, 51);
  expectPass(eevdf.judge());
}

TEST(JudgeMonitor, judgesImbalanceOnlyWhenAsked) {
  GoodRun run;
  run.monitor.imbalance = sustained(-1, 5);
  expectPass(run.judge());
  run.scenario().getAssertions().setMaxImbalanceRatio(4);
  expectOnly(run.judge(), "imbalance", Outcome::FAIL);
}

// The two rates of sched_ext's events: their limit, evidence and finding.
struct RateCase {
  void (*limit)(rpc::Assertions::Builder, double);
  RateEvidence MonitorEvidence::*seen;
  const char* finding;
  const char* name;
};
const RateCase rateCases[] = {
    {[](auto to, double value) { to.setMaxFallbackRate(value); }, &MonitorEvidence::fallback, "fallback-rate",
     "maxFallbackRate"},
    {[](auto to, double value) { to.setMaxKeepLastRate(value); }, &MonitorEvidence::keepLast,
     "keep-last-rate", "maxKeepLastRate"},
};

TEST(JudgeMonitor, judgesRatesOfEventsOnlyWhenAsked) {
  for (const RateCase& rate : rateCases) {
    GoodRun run;
    expectPass(run.judge());
    rate.limit(run.scenario().getSchedulerAssertions(), 200);
    (run.monitor.*rate.seen).intervals = 5;
    expectPass(run.judge());
    (run.monitor.*rate.seen).over = sustained(-1, 250);
    const Finding finding = expectOnly(run.judge(), rate.finding, Outcome::FAIL);
    EXPECT_EQ(finding.value, 250);
    EXPECT_EQ(finding.limit, 200);
    EXPECT_THAT(finding.message, HasSubstr("limit 200 /s set by the scheduler, in 6 consecutive samples"));
    (run.monitor.*rate.seen).starved = (run.monitor.*rate.seen).over;
    (run.monitor.*rate.seen).over.reset();
    run.monitor.starved = {{1, 0, 2000, 3}};
    expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  }
}

TEST(JudgeMonitor, doesNotTakeUnknownRatesForLowOnes) {
  for (const RateCase& rate : rateCases) {
    GoodRun run;
    rate.limit(run.scenario().getAssertions(), 200);
    (run.monitor.*rate.seen).intervals = 4;
    run.monitor.absent = {"scx event_stats_cpu: no such member"};
    const Finding finding = expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
    EXPECT_THAT(finding.message, HasSubstr(std::string(rate.name) + " (limit 200 /s set by the test)"));
    EXPECT_THAT(finding.message, HasSubstr("over 4 of 20 samples"));
    EXPECT_EQ(finding.evidence, "scx event_stats_cpu: no such member");
    GoodRun eevdf("");
    rate.limit(eevdf.scenario().getAssertions(), 200);
    EXPECT_THAT(expectOnly(eevdf.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
                HasSubstr("no sched_ext scheduler ran"));
  }
}

TEST(JudgeMonitor, doesNotTakeADepthThatWasAskedForUnderEevdfForNone) {
  GoodRun run("");
  run.scenario().getAssertions().setMaxLocalDsqDepth(10);
  EXPECT_THAT(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
              HasSubstr("maxLocalDsqDepth (limit 10 tasks set by the test)"));
}

TEST(JudgeMonitor, missesAMonitorThatFoundNothing) {
  GoodRun run;
  run.monitor = {};
  run.monitor.lastWaiting = "no VMCOREINFO in RAM";
  EXPECT_THAT(expectOnly(run.judge(), "monitor-missing", Outcome::INCONCLUSIVE).message,
              HasSubstr("no VMCOREINFO in RAM"));
}

TEST(JudgeMonitor, needsAsManySamplesAsItJudges) {
  GoodRun run;
  run.monitor.samples = run.monitor.validSamples = 5;
  expectPass(run.judge());
  run.monitor.samples = run.monitor.validSamples = 4;
  expectOnly(run.judge(), "monitor-missing", Outcome::INCONCLUSIVE);
  run.scenario().getAssertions().setSustainedSamples(4);
  expectPass(run.judge());
}

TEST(JudgeMonitor, missesTheStateOfSchedExt) {
  GoodRun run;
  run.monitor.scxReadableSamples = run.monitor.scxEnabledSamples = 0;
  run.monitor.absent = {"scx_root: no such symbol"};
  EXPECT_EQ(expectOnly(run.judge(), "monitor-missing", Outcome::INCONCLUSIVE).evidence,
            "scx_root: no such symbol");
  GoodRun noDsq;
  noDsq.monitor.dsqReadableSamples = 0;
  expectOnly(noDsq.judge(), "monitor-missing", Outcome::INCONCLUSIVE);
  GoodRun eevdf("");
  eevdf.monitor.scxReadableSamples = eevdf.monitor.dsqReadableSamples = 0;
  expectPass(eevdf.judge());
}

TEST(JudgeMonitor, doesNotBelieveTooManyImplausibleSamples) {
  GoodRun run;
  run.monitor.validSamples = 18;
  run.monitor.implausible[Implausible::dsqDepth] = 2;
  expectPass(run.judge());
  run.monitor.validSamples = 17;
  run.monitor.implausible[Implausible::clockBackwards] = 1;
  run.monitor.implausibleExample = "sample 3: local DSQ depth 4000000 on CPU 1";
  run.monitor.stall = sustained(2, 1);  // not to be believed either
  const Finding finding = expectOnly(run.judge(), "monitor-implausible", Outcome::INCONCLUSIVE);
  EXPECT_THAT(
      finding.message,
      HasSubstr(
          "3 of 20 samples of the monitor cannot be true: 2 with an impossible local DSQ depth, 1 with"));
  EXPECT_THAT(finding.evidence, HasSubstr("sample 3"));
}

TEST(JudgeMonitor, doesNotTakeTheGuestsWordAgainstItsMemory) {
  GoodRun never;
  never.monitor.scxEnabledSamples = 0;
  expectOnly(never.judge(), "monitor-contradicts-guest", Outcome::INCONCLUSIVE);

  GoodRun other;
  other.monitor.opsNames = {"qmap"};
  expectOnly(other.judge(), "monitor-contradicts-guest", Outcome::INCONCLUSIVE);

  GoodRun eevdf("");
  eevdf.monitor.scxEnabledSamples = 1;
  expectOnly(eevdf.judge(), "monitor-contradicts-guest", Outcome::INCONCLUSIVE);

  GoodRun lost;
  lost.monitor.scxLostRun = 4;
  expectPass(lost.judge());
  lost.monitor.scxLostRun = 5;
  expectOnly(lost.judge(), "monitor-contradicts-guest", Outcome::INCONCLUSIVE);
}

}  // namespace
}  // namespace ktstr
