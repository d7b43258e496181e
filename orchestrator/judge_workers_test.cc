#include <cerrno>
#include <csignal>

#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

TEST(JudgeWorkers, namesAStarvedWorkerAndNotItsConsequences) {
  GoodRun run;
  run.report(1).setWorkUnits(0);
  run.report(1).setIterations(0);
  run.report(1).setCpuNs(0);
  run.report(1).setMaxGapNs(9'000'000'000);
  const Finding finding = expectOnly(run.judge(), "worker-starved", Outcome::FAIL);
  EXPECT_EQ(finding.worker, "spinWait[1]");
  EXPECT_EQ(finding.cgroup, "a");
  EXPECT_EQ(finding.step, "main");
  EXPECT_THAT(finding.message, HasSubstr("under scx_simple"));
  run.report(1).setWorkUnits(1);
  run.report(1).setMaxGapNs(0);
  run.report(1).setCpuNs(1'000'000'000);
  expectPass(run.judge());
}

TEST(JudgeWorkers, doesNotCallAWorkerStarvedThatHadItsPartOfTheCpuTime) {
  GoodRun run;
  run.report(1).setIterations(0);
  run.report(1).setWorkUnits(0);
  run.report(1).setCpuNs(499'000'000);  // its equal had 1 s
  expectOnly(run.judge(), "worker-starved", Outcome::FAIL);
  run.report(1).setCpuNs(500'000'000);
  EXPECT_THAT(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
              HasSubstr("was on a CPU for 500 ms of it, those beside it that did work for 1000 ms"));
  run.report(1).setUsageValid(false);
  expectOnly(run.judge(), "worker-starved", Outcome::FAIL);
  run.report(1).setUsageValid(true);
  // Where none worked there is no measure.
  run.report(0).setIterations(0);
  run.report(0).setWorkUnits(0);
  const Judgement both = run.judge();
  EXPECT_EQ(both.outcome, Outcome::FAIL);
  ASSERT_EQ(both.findings.size(), 2U) << describe(both);
  EXPECT_EQ(both.findings[0].name, "worker-starved");
  EXPECT_EQ(both.findings[1].name, "worker-starved");
}

TEST(JudgeWorkers, doesNotMeasureBlockingWorkByItsCpuTime) {
  GoodRun run;
  run.report(3).setIterations(0);
  run.report(3).setWorkUnits(0);
  EXPECT_EQ(expectOnly(run.judge(), "worker-starved", Outcome::FAIL).worker, "bursty[1]");
}

TEST(JudgeWorkers, comparesSpreadOfCpuBoundGroupsWithTheDefault) {
  GoodRun run;
  run.report(0).setCpuNs(1'700'000'000);  // 85 %, the other has 50 %
  expectPass(run.judge());
  run.report(0).setCpuNs(1'702'000'000);
  const Finding finding = expectOnly(run.judge(), "worker-unfair", Outcome::FAIL);
  EXPECT_NEAR(finding.value, 35.1, 0.01);
  EXPECT_EQ(finding.limit, 35);
  EXPECT_EQ(finding.worker, "spinWait[1]");
  EXPECT_THAT(finding.message, HasSubstr("50 % (spinWait[1]) to 85.1 % (spinWait[0])"));
  EXPECT_THAT(finding.evidence,
              HasSubstr("spinWait[1]: 1000 iterations in 2000 ms, 1000 ms on a CPU, 0 voluntary"));
  EXPECT_THAT(finding.evidence, HasSubstr("\nspinWait[0]: 1000 iterations in 2000 ms, 1702 ms on a CPU"));
}

TEST(JudgeWorkers, judgesSpreadByDefaultOfThoseThatRanLongEnough) {
  GoodRun run;
  for (size_t i = 0; i < 2; ++i) run.report(i).setWallNs(1'999'000'000);
  run.report(0).setCpuNs(1'900'000'000);
  const Judgement remark = run.judge();
  EXPECT_EQ(remark.outcome, Outcome::PASS);
  ASSERT_EQ(remark.findings.size(), 1U) << describe(remark);
  EXPECT_EQ(remark.findings[0].name, "limit-not-judged");
  EXPECT_EQ(remark.findings[0].cgroup, "a");
  EXPECT_THAT(remark.findings[0].message, HasSubstr("is 45.02 points, over the limit 35 points by default"));
  EXPECT_THAT(remark.findings[0].message, HasSubstr("ran for only 1999 ms: 2000 ms are needed"));
  run.scenario().getSchedulerAssertions().setMaxSpreadPct(35);
  expectOnly(run.judge(), "worker-unfair", Outcome::FAIL);
  run.scenario().getSchedulerAssertions().setMaxSpreadPct(50);
  expectPass(run.judge());
}

TEST(JudgeWorkers, comparesSpreadOfSleepersOnlyWhenAsked) {
  GoodRun run;
  run.report(2).setCpuNs(1'900'000'000);
  expectPass(run.judge());
  run.scenario().getAssertions().setMaxSpreadPct(45);
  expectPass(run.judge());
  run.scenario().getAssertions().setMaxSpreadPct(44.9);
  expectOnly(run.judge(), "worker-unfair", Outcome::FAIL);
}

TEST(JudgeWorkers, comparesTheGapStrictly) {
  GoodRun run;
  run.report(3).setMaxGapNs(2'000'000'000);
  expectPass(run.judge());
  run.report(3).setMaxGapNs(2'000'500'000);
  run.report(3).setMaxGapAtNs(3'500'000'000);
  run.report(3).setMaxGapCpu(2);
  run.report(3).setRunDelayValid(true);
  run.report(3).setRunDelayNs(2'100'000'000);
  run.report(3).setTimeslices(7);
  run.report(3).setInvoluntarySwitches(6);
  const Finding finding = expectOnly(run.judge(), "worker-gap", Outcome::FAIL);
  EXPECT_EQ(finding.cpu, 2);
  EXPECT_EQ(finding.worker, "bursty[1]");
  EXPECT_THAT(
      finding.message,
      HasSubstr("2000.5 ms (limit 2000 ms by default), until it ran on CPU 2 2500 ms into the scenario"));
  EXPECT_EQ(
      finding.evidence,
      "bursty[1]: 1000 iterations in 2000 ms, 1000 ms on a CPU, 2100 ms in wait for one, in 7 timeslices, "
      "0 voluntary and 6 involuntary switches, 10 changes of CPU, seen on CPUs 2-3, longest gap 2000.5 ms, "
      "until it ran on CPU 2 2500 ms into the scenario");
}

TEST(JudgeWorkers, blamesTheHostForAGapItExplains) {
  GoodRun run;
  run.report(0).setMaxGapNs(2'500'000'000);
  run.report(0).setMaxGapAtNs(5'000'000'000);  // 4 s into the scenario
  run.report(0).setMaxGapCpu(1);
  run.monitor.starved = {{1, 2000, 2499, 0}};
  expectOnly(run.judge(), "worker-gap", Outcome::FAIL);
  run.monitor.starved = {{1, 2000, 2500, 5}};
  EXPECT_THAT(expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE).message,
              HasSubstr("the host gave vCPU 1 only 5 ms of CPU time in 500 ms (1 %)"));
  run.monitor.starved = {{1, 0, 900, 0}};  // before the gap
  expectOnly(run.judge(), "worker-gap", Outcome::FAIL);
}

TEST(JudgeWorkers, blamesTheHostForAWorkerThatStarvedOrStuckOnAStarvedVcpu) {
  GoodRun never;
  never.report(0).setWorkUnits(0);
  never.report(0).setCpuNs(0);
  never.report(0).setIterations(0);
  never.monitor.starved = {{0, 100, 1100, 9}};  // of 2 s
  expectOnly(never.judge(), "worker-starved", Outcome::FAIL);
  never.monitor.starved = {{0, 100, 1101, 9}};
  expectOnly(never.judge(), "host-starved", Outcome::INCONCLUSIVE);

  GoodRun stuck;
  stuck.report(0).initExited().setStuck();
  stuck.report(0).setMaxGapNs(5'000'000'000);
  stuck.report(0).setMaxGapAtNs(8'000'000'000);
  stuck.monitor.starved = {{0, 2500, 4500, 0}};
  expectOnly(stuck.judge(), "worker-stuck", Outcome::FAIL);
  auto told = stuck.event().initFailure();
  told.setName(rpc::GuestFailureName::WORKER_STUCK);
  told.setCgroup("a");
  told.setWorker("spinWait[0]");
  stuck.monitor.starved = {{0, 2500, 7000, 0}};
  expectOnly(stuck.judge(), "host-starved", Outcome::INCONCLUSIVE);
}

TEST(JudgeWorkers, blamesTheHostForUnfairnessOfAStarvedVcpu) {
  GoodRun run;
  run.report(0).setCpuNs(1'900'000'000);
  run.report(1).setCpuNs(1'000'000'000);  // 45 points apart, of 2 s
  run.monitor.starved = {{1, 100, 290, 0}};
  expectOnly(run.judge(), "worker-unfair", Outcome::FAIL);
  run.monitor.starved = {{1, 100, 301, 0}};
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  // In another step it is no excuse.
  auto began = run.event();
  began.setAtNs(3'000'000'000);
  began.initStepStarted().setStep(0);
  expectOnly(run.judge(), "worker-unfair", Outcome::FAIL);
}

TEST(JudgeWorkers, namesAWorkerOutsideItsCpuset) {
  GoodRun run;
  run.report(0).getCpusSeen().set(1, 3);
  const Finding finding = expectOnly(run.judge(), "worker-isolation", Outcome::FAIL);
  EXPECT_EQ(finding.cpu, 3);
  EXPECT_THAT(finding.message, HasSubstr("ran on CPU 3, outside its cpuset 0-1"));
  EXPECT_THAT(finding.evidence, HasSubstr("seen on CPUs 0,3"));
  auto since = run.report(0).initFirstSeenNs(2);
  since.set(0, 1'000'000'000);
  since.set(1, 2'250'000'000);
  EXPECT_THAT(expectOnly(run.judge(), "worker-isolation", Outcome::FAIL).message,
              HasSubstr("outside its cpuset 0-1, for the first time on CPU 3, 1250 ms into the scenario"));
  run.scenario().getAssertions().setIsolation(rpc::Choice::NO);
  expectPass(run.judge());
}

TEST(JudgeWorkers, doesNotGuessIsolation) {
  GoodRun run;
  run.report(0).initCpuset(0);
  expectOnly(run.judge(), "worker-isolation", Outcome::INCONCLUSIVE);
  GoodRun free;
  free.scenario().getSteps()[0].getCgroups()[0].getCpuset().setInherit();
  free.report(0).initCpuset(0);
  free.report(0).getCpusSeen().set(1, 3);
  expectPass(free.judge());
}

TEST(JudgeWorkers, namesAWorkerWhoseCallsFailed) {
  GoodRun run;
  run.report(1).setErrors(3);
  run.report(1).setLastErrno(EPERM);
  run.report(1).setLastErrorCall("sched_setscheduler");
  const Finding finding = expectOnly(run.judge(), "worker-call-failed", Outcome::FAIL);
  EXPECT_EQ(finding.worker, "spinWait[1]");
  EXPECT_EQ(finding.cgroup, "a");
  EXPECT_EQ(finding.value, 3);
  EXPECT_THAT(finding.message,
              HasSubstr("3 calls failed, the last one sched_setscheduler with EPERM (Operation"));
  EXPECT_THAT(finding.hint, HasSubstr("uid"));
  run.report(1).setErrors(1);
  run.report(1).setLastErrno(40'000);
  EXPECT_THAT(expectOnly(run.judge(), "worker-call-failed", Outcome::FAIL).message,
              HasSubstr("1 call failed, the last one sched_setscheduler with errno 40000"));
  // Whose partner is dead has nobody to call.
  run.report(0).getExited().setSignal(SIGSEGV);
  expectOnly(run.judge(), "worker-crashed", Outcome::FAIL);
}

TEST(JudgeWorkers, namesCrashedAndStuckWorkersOnce) {
  GoodRun crashed;
  crashed.report(0).getExited().setSignal(SIGSEGV);
  crashed.report(0).setWorkUnits(0);
  crashed.failure(rpc::GuestFailureName::WORKER_CRASHED, "pid 77");
  const Finding finding = expectOnly(crashed.judge(), "worker-crashed", Outcome::FAIL);
  EXPECT_THAT(finding.message, HasSubstr("SIGSEGV"));
  EXPECT_EQ(finding.evidence, "pid 77");

  GoodRun code;
  code.report(0).getExited().setCode(3);
  EXPECT_THAT(expectOnly(code.judge(), "worker-crashed", Outcome::FAIL).message, HasSubstr("exit code 3"));

  GoodRun stuck;
  stuck.report(2).getExited().setStuck();
  EXPECT_EQ(expectOnly(stuck.judge(), "worker-stuck", Outcome::FAIL).worker, "bursty[0]");
}

TEST(JudgeWorkers, namesACrashWithoutAReport) {
  GoodRun run;
  run.drop(rpc::GuestEvent::WORKER);
  run.failure(rpc::GuestFailureName::WORKER_CRASHED, "pid 77 ended with SIGBUS");
  expectOnly(run.judge(), "worker-crashed", Outcome::FAIL);
}

TEST(JudgeWorkers, countsMissingReports) {
  GoodRun run;
  run.scenario().getSteps()[0].getCgroups()[0].getWork()[0].setWorkers(3);
  const Finding finding = expectOnly(run.judge(), "worker-report-missing", Outcome::INCONCLUSIVE);
  EXPECT_EQ(finding.value, 2);
  EXPECT_EQ(finding.limit, 3);
  EXPECT_EQ(finding.cgroup, "a");
}

TEST(JudgeWorkers, believesNoReportThatNobodyAskedFor) {
  GoodRun tooMany;
  tooMany.scenario().getSteps()[0].getCgroups()[0].getWork()[0].setWorkers(1);
  expectOnly(tooMany.judge(), "guest-corrupt", Outcome::INCONCLUSIVE);
  GoodRun unknown;
  unknown.event().initWorker().setWork("other");
  expectOnly(unknown.judge(), "guest-corrupt", Outcome::INCONCLUSIVE);
}

TEST(JudgeWorkers, judgesReportsOfARunThatBrokeOff) {
  GoodRun run;
  run.lifecycle.vmmDied = "killed by SIGKILL";
  run.drop(rpc::GuestEvent::DONE);
  run.report(0).getCpusSeen().set(1, 3);
  const Judgement judgement = run.judge();
  ASSERT_EQ(judgement.findings.size(), 2u) << describe(judgement);
  EXPECT_EQ(judgement.outcome, Outcome::FAIL);
  EXPECT_EQ(judgement.findings[0].name, "worker-isolation");
  EXPECT_EQ(judgement.findings[1].name, "vmm-killed");
}

}  // namespace
}  // namespace ktstr
