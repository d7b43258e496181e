// What a test makes of what its runs answer. The orchestrator is a script: no machine.
#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "guest/scenario/snapshot_times.h"
#include "orchestrator/library/crash.h"
#include "orchestrator/library/ktstr.h"
#include "orchestrator/library_testing.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

KTSTR_SCHEDULER(mine, {.binary = "scx_mine"});

class ContextTest : public testing::Test {
 protected:
  // How the test of this declaration fails, whose runs get these answers.
  std::vector<std::string> failures(const TestSpec& spec, const std::vector<std::string>& answers) {
    orchestrator_.answer(answers);
    spec_ = spec;
    testing::TestPartResultArray results;
    {
      using Reporter = testing::ScopedFakeTestPartResultReporter;
      const Reporter reporter(Reporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
      context_ = std::make_unique<Context>(spec_, "debian:7.3");
      context_->run("steady");
    }
    std::vector<std::string> messages;
    for (int i = 0; i < results.size(); i++) messages.emplace_back(results.GetTestPartResult(i).message());
    return messages;
  }

  TestOrchestrator orchestrator_;
  TestSpec spec_;
  std::unique_ptr<Context> context_;
};

const std::string passes = recordOf(rpc::Outcome::PASS);
const std::string fails = recordOf(rpc::Outcome::FAIL, "worker-gap");
const std::string starved = recordOf(rpc::Outcome::INCONCLUSIVE, "host-starved");

TEST_F(ContextTest, TriesAgainWhatIsInconclusive) {
  EXPECT_THAT(failures({}, {starved, passes}), IsEmpty());
  EXPECT_EQ(orchestrator_.runs(), 2u);
  EXPECT_EQ(context_->last().outcome(), rpc::Outcome::PASS);
  EXPECT_THAT(failures({}, {passes}), IsEmpty());
  EXPECT_EQ(orchestrator_.runs(), 1u) << "since it passed";
  EXPECT_THAT(failures({}, {starved, starved, passes}), ElementsAre(HasSubstr("host-starved")));
  EXPECT_EQ(orchestrator_.runs(), 2u) << "as often as it may";
}

TEST_F(ContextTest, FailsWithTheReasons) {
  EXPECT_THAT(failures({}, {fails, passes}),
              ElementsAre(AllOf(HasSubstr("worker-gap: "), HasSubstr("the record is in /run"))));
  EXPECT_EQ(orchestrator_.runs(), 1u);
}

TEST_F(ContextTest, WhatMustFailMayNotPass) {
  EXPECT_THAT(failures({.expectFinding = "worker-gap"}, {fails}), IsEmpty());
  EXPECT_THAT(failures({.expectFinding = "worker-gap"}, {passes}),
              ElementsAre(HasSubstr("it was to fail with worker-gap, and is pass")));
  EXPECT_THAT(failures({.expectFinding = "worker-starved"}, {fails}),
              ElementsAre(HasSubstr("it was to fail with worker-starved, and is fail")));
  EXPECT_THAT(failures({.expectFinding = "worker-gap"}, {recordOf(rpc::Outcome::PASS, "worker-gap")}),
              ElementsAre(HasSubstr("and is pass")))
      << "a remark";
  EXPECT_THAT(failures({.expectError = true}, {fails}), IsEmpty());
  EXPECT_THAT(failures({.expectError = true}, {passes}),
              ElementsAre(HasSubstr("it was to fail, and is pass")));
}

TEST_F(ContextTest, PostVmJudgesToo) {
  EXPECT_THAT(failures({.postVm = [](const RunResult& run) { EXPECT_EQ(run.reasons(), "x") << "by postVm"; }},
                       {passes}),
              ElementsAre(HasSubstr("by postVm")));
  const TestSpec asks{.postVm = [](const RunResult& run) { (void)run.iterations({}); }};
  EXPECT_THAT(errorOf([&] { failures(asks, {passes}); }), HasSubstr("no-such-work: "));
}

// A program is packed because the scenario names it as that of a custom function.
KTSTR_WORK(count) {
  while (!worker.stopping()) worker.iteration();
}

TEST_F(ContextTest, ThisProgramIsPackedForItsFunctionsAlone) {
  const std::string here = std::filesystem::read_symlink("/proc/self/exe");
  EXPECT_THAT(failures({}, {passes}), IsEmpty());
  EXPECT_THAT(orchestrator_.scenario(1), AllOf(HasSubstr(R"("name":"steady")"), Not(HasSubstr(here))));
  EXPECT_THAT(orchestrator_.words(), Not(HasSubstr(here)));
  context_->run(say::Scenario("counted", "")
                    .step(say::Step("run").cgroup(say::Cgroup("a").work(say::custom(1, "count")))));
  EXPECT_THAT(orchestrator_.scenario(2), HasSubstr(R"({"name":"count","program":")" + here));
}

TEST_F(ContextTest, CustomWorkIsKnownBeforeAMachineBoots) {
  const TestSpec spec;
  Context context(spec, "debian:7.3");
  EXPECT_THAT(errorOf([&] {
                context.run(say::Scenario("x", "").step(
                    say::Step("run").cgroup(say::Cgroup("a").work(say::custom(1, "nope")))));
              }),
              HasSubstr("custom-unknown: no custom function \"nope\" is registered here; there are: count"));
  EXPECT_EQ(orchestrator_.runs(), 0u);
}

// ---- autoRepro

// A run that the scheduler did not survive, and what the monitor had read by then.
std::string crashed(const TestOrchestrator& orchestrator) {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  fillRecord(record, rpc::Outcome::FAIL, "scheduler-exited");
  record.setDirectory(orchestrator.directory());
  auto snapshots = record.initSnapshots(2);
  snapshots[0].setName("periodic_000");
  snapshots[0].setAtMs(300.5);
  snapshots[1].setName("scheduler-error");
  for (auto snapshot : snapshots) snapshot.setFile("snapshots.jsonl");
  auto program = record.initMonitor().initPrograms(1)[0];
  program.setName("mine_enqueue");
  program.setRuns(1234);
  program.setNanosPerRun(56.7);
  return toJson(record.asReader());
}

const char* const dumps =
    R"({"name":"periodic_000"}
{"name":"scheduler-error","scheduler":{"exit":{"kindName":"SCX_EXIT_ERROR","reason":"runtime error",)"
    R"("message":"a queue too many","backtrace":["scx_exit+0x10","bpf_prog_mine_enqueue+0x5"]}}}
)";

TEST_F(ContextTest, CrashIsReproducedWithSnapshotsOnTheWay) {
  std::ofstream(orchestrator_.directory() + "/snapshots.jsonl") << dumps;
  const TestSpec spec{.scheduler = mine, .durationMs = 1500};
  failures(spec, {fails, crashed(orchestrator_)});
  EXPECT_EQ(orchestrator_.runs(), 1u) << "no crash";
  const std::string crash = crashed(orchestrator_);
  EXPECT_THAT(
      failures(spec, {crash, crash}),
      ElementsAre(AllOf(HasSubstr("scheduler-exited: "),
                        HasSubstr("run once more, it is scheduler-exited again; the record is in " +
                                  orchestrator_.directory() + "\nof the second run:"),
                        HasSubstr("SCX_EXIT_ERROR (runtime error) a queue too many\n    scx_exit+0x10\n"
                                  "    bpf_prog_mine_enqueue+0x5\n"),
                        HasSubstr("snapshots: periodic_000 at 300 ms, scheduler-error\n"),
                        HasSubstr("BPF programs:\n    mine_enqueue: 1234 runs of 56 ns"))));
  EXPECT_EQ(orchestrator_.runs(), 2u);
  EXPECT_THAT(orchestrator_.scenario(1), Not(HasSubstr(R"("snapshots":15)")));
  EXPECT_THAT(orchestrator_.scenario(2), HasSubstr(R"("snapshots":15)")) << "500 ms to settle, and 1500";
}

TEST_F(ContextTest, CrashThatDoesNotComeAgainIsSaidToo) {
  const std::string crash = crashed(orchestrator_);
  EXPECT_THAT(
      failures({.scheduler = mine}, {crash, passes}),
      ElementsAre(AllOf(HasSubstr("run once more, it is pass instead of scheduler-exited"),
                        HasSubstr("of the first run:"), HasSubstr("the kernel's reason was not seen: "))));
  EXPECT_THAT(failures({.scheduler = mine}, {crash, "no record"}),
              ElementsAre(HasSubstr("autoRepro: it could not be run once more: json-invalid")));
}

TEST_F(ContextTest, CrashIsNotReproducedWhereItIsExpectedOrNotWanted) {
  const std::string crash = crashed(orchestrator_);
  EXPECT_THAT(failures({.scheduler = mine, .autoRepro = false}, {crash}),
              ElementsAre(Not(HasSubstr("autoRepro"))));
  EXPECT_EQ(orchestrator_.runs(), 1u);
  EXPECT_THAT(failures({.scheduler = mine, .expectError = true}, {crash}), IsEmpty());
  EXPECT_EQ(orchestrator_.runs(), 1u);
  EXPECT_THAT(failures({.scheduler = mine, .expectFinding = "scheduler-stalled"}, {crash}),
              ElementsAre(Not(HasSubstr("autoRepro"))));
  EXPECT_EQ(orchestrator_.runs(), 1u);
}

TEST(Crash, SnapshotsFitTheScenario) {
  const auto fitting = [](uint32_t milliseconds, uint32_t asked) {
    capnp::MallocMessageBuilder message;
    auto scenario = message.initRoot<rpc::Scenario>();
    say::Scenario("x", "")
        .snapshots(asked)
        .step(say::Step("run").hold(say::fixedMs(milliseconds)))
        .write(scenario);
    scenario.setSnapshots(snapshotsBeforeCrash(scenario.asReader()));
    checkSnapshots(scenario.asReader());
    return scenario.getSnapshots();
  };
  EXPECT_EQ(fitting(100, 0), 0u);
  EXPECT_EQ(fitting(999, 0), 6u);
  EXPECT_EQ(fitting(1000, 0), 7u);
  EXPECT_EQ(fitting(60'000, 0), 16u);
  EXPECT_EQ(fitting(60'000, 40), 40u);
}

}  // namespace
}  // namespace ktstr
