#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

class Performance : public ::testing::Test {
 protected:
  Performance() {
    run_.performanceMode = true;
    run_.monitor.hostShares = {{0, {1990, 2000}}, {1, {1700, 2000}}};
  }
  // What the guest says of itself.
  void say(bool hints) { run_.event().initReady().setRealTimeHints(hints); }

  GoodRun run_;
};

TEST_F(Performance, ThatIsKeptPasses) {
  say(true);
  EXPECT_EQ(run_.judge().outcome, Outcome::PASS);
}

TEST_F(Performance, HintsThatTheGuestDoesNotSeeAreNamed) {
  say(false);
  expectOnly(run_.judge(), "performance-not-kept", Outcome::INFRASTRUCTURE);
  run_.performanceMode = false;
  EXPECT_EQ(run_.judge().outcome, Outcome::PASS) << "nobody asked for them";
}

TEST_F(Performance, CpuThatTheHostUsedOtherwiseMakesItInconclusive) {
  say(true);
  run_.monitor.hostShares[1] = {1500, 2000};
  const Judgement judgement = run_.judge();
  expectOnly(judgement, "performance-not-kept", Outcome::INCONCLUSIVE);
  EXPECT_EQ(judgement.findings.front().cpu, 1);
  EXPECT_DOUBLE_EQ(judgement.findings.front().value, 75);
  EXPECT_THAT(judgement.findings.front().message,
              testing::HasSubstr("vCPU 1 was on its CPU of the host for 75 %"));
}

}  // namespace
}  // namespace ktstr
