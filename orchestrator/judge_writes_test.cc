#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A good run that was to write two values, and did.
class WritingRun : public GoodRun {
 public:
  WritingRun() {
    mapWrites.asked = {".data:a=7", ".data:b=1"};
    for (auto& message : outcomes_) {
      auto outcome = message.initRoot<rpc::MapWriteOutcome>();
      outcome.setAsked(mapWrites.asked.at(mapWrites.outcomes.size()));
      outcome.setBytes(4);
      outcome.setWrote(7);
      outcome.setAfter(7);
      outcome.setAfterValid(true);
      mapWrites.outcomes.push_back(outcome.asReader());
    }
  }
  rpc::MapWriteOutcome::Builder outcome(size_t index) {
    return outcomes_[index].getRoot<rpc::MapWriteOutcome>();
  }
  void fail(const char* failure, const char* problem) {
    outcome(0).setFailure("held-back");
    outcome(1).setFailure(failure);
    outcome(1).setProblem(problem);
  }

 private:
  capnp::MallocMessageBuilder outcomes_[2];
};

// The only finding there is.
Finding only(WritingRun& run) {
  const Judgement judgement = run.judge();
  EXPECT_EQ(judgement.findings.size(), 1u);
  return judgement.findings.empty() ? Finding{} : judgement.findings.front();
}

TEST(JudgeWrites, DoneAsAskedIsNoFinding) {
  WritingRun run;
  EXPECT_TRUE(run.judge().findings.empty());
}

TEST(JudgeWrites, WhatThereIsNotIsInconclusive) {
  WritingRun run;
  run.fail("map-unknown", "no map .dota; there are simple.data (#3)");
  const Finding finding = only(run);
  EXPECT_EQ(finding.name, "map-write-failed");
  EXPECT_EQ(finding.outcome, Outcome::INCONCLUSIVE);
  EXPECT_THAT(finding.message,
              AllOf(HasSubstr(".data:b=1"), HasSubstr("map-unknown"), HasSubstr("simple.data (#3)")));
}

TEST(JudgeWrites, RefusedIsOurs) {
  WritingRun run;
  run.fail("write-refused", "outside the granted ranges");
  EXPECT_EQ(only(run).outcome, Outcome::INFRASTRUCTURE);
}

TEST(JudgeWrites, WhatReadsBackOtherwiseDidNotStay) {
  WritingRun run;
  run.outcome(1).setAfter(9);
  EXPECT_THAT(only(run).message, HasSubstr("wrote 7, read back 9"));
  run.outcome(1).setAfterValid(false);
  EXPECT_THAT(only(run).message, HasSubstr("could not be read back"));
}

TEST(JudgeWrites, NeverComeToIsNamedUnlessExplained) {
  WritingRun run;
  run.mapWrites.outcomes.clear();
  const Judgement judgement = run.judge();
  ASSERT_EQ(judgement.findings.size(), 2u);
  EXPECT_THAT(judgement.findings.back().message,
              AllOf(HasSubstr(".data:b=1"), HasSubstr("saw no sched_ext scheduler enabled")));
  run.lifecycle.interruptedBy = 2;
  for (const auto& finding : run.judge().findings) EXPECT_NE(finding.name, "map-write-failed");
}

TEST(JudgeWrites, OfAnOperationNameItsPlace) {
  WritingRun run;
  run.fail("map-unknown", "no map .dota");
  for (size_t i : {size_t{0}, size_t{1}}) {
    run.outcome(i).setOfOperation(true);
    run.outcome(i).setOp(3);
  }
  run.mapWrites.asked.clear();
  EXPECT_THAT(only(run).message,
              HasSubstr("writeMap .data:b=1 (operation 3 of main) was not made: map-unknown"));
  run.mapWrites.asked = {".data:start=1"};
  EXPECT_EQ(run.judge().findings.size(), 2u) << "that of --map-write was not told of";
  run.mapWrites.asked.clear();
  run.fail("run-ended", "too late");
  EXPECT_EQ(only(run).name, "map-write-failed");
  run.failure(rpc::GuestFailureName::SCHEDULER_EXITED);
  for (const auto& finding : run.judge().findings) EXPECT_NE(finding.name, "map-write-failed");
}

TEST(JudgeWrites, AreEvidenceOfASchedulersEnd) {
  WritingRun run;
  run.mapWrites.asked.clear();
  for (size_t i : {size_t{0}, size_t{1}}) {
    run.outcome(i).setOfOperation(true);
    run.outcome(i).setOp(3);
    run.outcome(i).setAtNs(7'000'000'000);
  }
  auto exited = run.event();
  exited.setAtNs(2'120'000'000);
  exited.initSchedulerExited().setExitCode(1);
  EXPECT_THAT(only(run).evidence, ::testing::Not(HasSubstr("host"))) << "the clocks do not compare";
  run.clock.emplace().offsetNs = 5'000'000'000;
  EXPECT_EQ(only(run).name, "scheduler-exited");
  EXPECT_THAT(only(run).evidence,
              HasSubstr("provoked by the host's write .data:a=7, .data:b=1? It came 120 ms "
                        "before (operation 3 of main)"));
  run.outcome(1).setOp(4);
  EXPECT_THAT(only(run).evidence, HasSubstr("write .data:b=1? It came 120 ms before (operation 4 of main)"));
  run.outcome(1).setAtNs(7'130'000'000);
  EXPECT_THAT(only(run).evidence, HasSubstr("write .data:a=7? It came")) << "the other one came after it";
}

// A good run whose watchdog was to have a timeout of 5 s.
class WatchedRun : public GoodRun {
 public:
  WatchedRun() {
    watchdog.askedMs = 5000;
    outcome().setAskedMs(5000);
    outcome().setReadBackMs(5000);
    outcome().setPlace("scx_sched.watchdog_timeout");
    watchdog.outcomes.push_back(outcome().asReader());
  }
  rpc::WatchdogWrite::Builder outcome() { return message_.getRoot<rpc::WatchdogWrite>(); }

 private:
  capnp::MallocMessageBuilder message_;
};

TEST(JudgeWatchdog, SetAsAskedIsNoFindingUpToOneTick) {
  WatchedRun run;
  EXPECT_TRUE(run.judge().findings.empty());
  run.outcome().setReadBackMs(4996);
  EXPECT_TRUE(run.judge().findings.empty());
}

TEST(JudgeWatchdog, WhatIsNotSetMakesTheRunInconclusive) {
  WatchedRun other;
  other.outcome().setReadBackMs(30'000);
  WatchedRun absent;
  absent.outcome().setFailure("watchdog-absent");
  absent.outcome().setProblem("scx_watchdog_timeout: no such symbol");
  WatchedRun unseen;
  unseen.watchdog.outcomes.clear();
  for (auto& [run, words] : {std::pair<WatchedRun*, const char*>{&other, "reads back as 30000 ms"},
                             {&absent, "watchdog-absent: scx_watchdog_timeout: no such symbol"},
                             {&unseen, "saw no sched_ext scheduler"}}) {
    const Judgement judgement = run->judge();
    ASSERT_EQ(judgement.findings.size(), 1u);
    EXPECT_EQ(judgement.findings.front().name, "watchdog-not-set");
    EXPECT_EQ(judgement.outcome, Outcome::INCONCLUSIVE);
    EXPECT_THAT(judgement.findings.front().message, HasSubstr(words));
  }
}

TEST(JudgeWatchdog, AGateThatRefusesIsTheHarnesssFault) {
  WatchedRun run;
  run.outcome().setFailure("write-refused");
  EXPECT_EQ(run.judge().outcome, Outcome::INFRASTRUCTURE);
}

}  // namespace
}  // namespace ktstr
