#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

// The good run, with times: its step began with the scenario, its workers ran 2 s. "a" has two workers that
// spin on CPUs 0-1. Whoever idles does it from 300 to 1400 ms.
class IdleRun : public GoodRun {
 public:
  explicit IdleRun(int32_t cpu) {
    auto ready = event();
    ready.initReady().setCpusOnline(4);
    auto started = event();
    started.setAtNs(1'000'000'000);
    started.initStepStarted().setStep(0);
    monitor.unused = {Sustained{cpu, 11, 17, 1400, 2, 300}};
  }
};

TEST(JudgeCpus, namesACpuThatIdledWhileOneOfItsWorkersMustHaveWaited) {
  IdleRun run(1);
  const Finding finding = expectOnly(run.judge(), "cpu-starved", Outcome::FAIL);
  EXPECT_EQ(finding.cpu, 1);
  EXPECT_EQ(finding.step, "main");
  EXPECT_EQ(finding.value, 11);
  EXPECT_EQ(finding.limit, 5);
  EXPECT_THAT(finding.message,
              HasSubstr("CPU 1 got nothing to run under scx_simple in 11 consecutive samples"));
  EXPECT_THAT(finding.message, HasSubstr("while up to 2 tasks waited"));
  EXPECT_THAT(finding.message,
              HasSubstr("2 workers that always want to run share CPU 0-1: spinWait in cgroup \"a\""));
  run.scenario().getAssertions().setNotStarved(rpc::Choice::NO);
  expectPass(run.judge());
}

TEST(JudgeCpus, letsACpuIdleThatNobodyMustHaveWaitedFor) {
  IdleRun ofSleepers(2);  // "b" sleeps now and then
  expectPass(ofSleepers.judge());
  IdleRun ofFew(1);
  for (const size_t worker : {size_t{0}, size_t{1}}) {  // two workers for all four CPUs
    auto cpuset = ofFew.report(worker).initCpuset(4);
    for (unsigned i = 0; i < 4; ++i) cpuset.set(i, i);
  }
  expectPass(ofFew.judge());
  IdleRun ofDead(1);
  ofDead.report(0).getExited().setSignal(9);
  for (const Finding& finding : ofDead.judge().findings) EXPECT_NE(finding.name, "cpu-starved");
}

TEST(JudgeCpus, letsACpuIdleWhoseWorkersAreHeldBack) {
  IdleRun limited(1);
  limited.scenario().getSteps()[0].getCgroups()[0].getLimits().setCpuQuotaUs(10000);
  expectPass(limited.judge());
  IdleRun limitedAbove(1);
  auto backdrop = limitedAbove.scenario().getBackdrop().initCgroups(1)[0];
  backdrop.setName("a");
  backdrop.getLimits().setCpuQuotaUs(10000);
  expectPass(limitedAbove.judge());
  IdleRun reserved(1);
  reserved.scenario().getSteps()[0].getCgroups()[0].getWork()[0].getPolicy().initDeadline();
  expectPass(reserved.judge());
  IdleRun whoPinThemselves(1);
  auto work = whoPinThemselves.scenario().getSteps()[0].getCgroups()[0].getWork()[0];
  work.setName("spinWait");
  work.getType().initAffinityChurn();
  expectPass(whoPinThemselves.judge());
}

TEST(JudgeCpus, needsSamplesSurelyTakenInTheStep) {
  IdleRun late(1);
  late.monitor.unused = {Sustained{1, 11, 17, 2100, 2, 1000}};
  expectOnly(late.judge(), "cpu-starved", Outcome::FAIL);
  late.monitor.unused = {Sustained{1, 11, 17, 2200, 2, 1100}};  // 4 of 11 before 1500 ms
  expectPass(late.judge());
  IdleRun withOperations(1);
  withOperations.scenario().getSteps()[0].initOps(1)[0].setStopCgroup("a");
  expectPass(withOperations.judge());
}

TEST(JudgeCpus, judgesStepsWhoseOperationsChangeNoWork) {
  IdleRun harmless(1);
  auto ops = harmless.scenario().getSteps()[0].initOps(2);
  ops[0].setSleepMs(100);
  ops[1].setSnapshot("s");
  harmless.scenario().getBackdrop().initOps(1)[0].setSleepMs(1);
  expectOnly(harmless.judge(), "cpu-starved", Outcome::FAIL);
}

TEST(JudgeCpus, saysWhatItDoesNotJudgeThoughItWasAskedFor) {
  for (const bool ofBackdrop : {false, true}) {
    IdleRun run(1);
    ofBackdrop ? run.scenario().getBackdrop().initOps(1)[0].setAddCgroup("c")
               : run.scenario().getSteps()[0].initOps(1)[0].setStopCgroup("a");
    expectPass(run.judge());
    run.scenario().getAssertions().setNotStarved(rpc::Choice::YES);
    const Finding finding = expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
    EXPECT_EQ(finding.cpu, 1);
    EXPECT_EQ(finding.step, "main");
    EXPECT_THAT(finding.message,
                HasSubstr("notStarved (limit yes set by the test) was not judged: CPU 1 had"));
    run.monitor.unused.clear();  // nothing was seen that would have to be judged
    expectPass(run.judge());
  }
}

}  // namespace
}  // namespace ktstr
