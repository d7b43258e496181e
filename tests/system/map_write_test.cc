// Values of BPF maps that a run writes by itself: made, seen by the scheduler, or named with what there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <stdexcept>

#include "orchestrator/library/ktstr.h"
#include "protocol/file.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

using ::testing::HasSubstr;

Record runWriting(const std::vector<std::string>& writes) {
  std::vector<std::string> words = {"run",        scenario("basic"), "--format", "jsonl",       "--kernel",
                                    "debian:7.3", "--topology",      "1n1l2c1t", "--scheduler", "scx_simple"};
  for (const auto& write : writes) words.insert(words.end(), {"--map-write", write});
  const Result result = ktstr(words);
  if (result.out.empty()) throw std::runtime_error(result.err);
  return Record(result.out);
}

// scx_simple ends when its exit information says that it was ended.
TEST(RunWithMapWrites, ReachesTheScheduler) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  const Record record = runWriting({".data:uei.exit_code=77", ".data:uei.kind=1"});
  const auto writes = record->getMapWrites();
  ASSERT_EQ(writes.size(), 2u) << record.findings();
  EXPECT_STREQ(writes[0].getAsked().cStr(), ".data:uei.exit_code=77");
  EXPECT_THAT(writes[1].getMap().cStr(), ::testing::EndsWith(".data"));
  EXPECT_EQ(writes[0].getBytes(), 8u);
  EXPECT_EQ(writes[1].getBytes(), 4u);
  EXPECT_EQ(writes[0].getWrote(), 77u);
  for (const auto write : writes) {
    EXPECT_STREQ(write.getFailure().cStr(), "") << write.getProblem().cStr();
    EXPECT_EQ(write.getBefore(), 0u);
    EXPECT_TRUE(write.getAfterValid());
    EXPECT_EQ(write.getAfter(), write.getWrote());
    EXPECT_GT(write.getAtNs(), 0u);
  }
  EXPECT_TRUE(record.hasFinding("scheduler-exited")) << record.findings();
  EXPECT_FALSE(record.hasFinding("map-write-failed")) << record.findings();
}

// By one that the scheduler goes on with; the other ended it, at times before there was a scenario.
TEST(RunWithMapWrites, AreThereWhenTheScenarioBegins) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  const Record record = runWriting({".data:uei.exit_code=77"});
  const auto writes = record->getMapWrites();
  ASSERT_EQ(writes.size(), 1u) << record.findings();
  EXPECT_STREQ(writes[0].getFailure().cStr(), "") << writes[0].getProblem().cStr();
  const std::string events = readFile(std::string(record->getDirectory().cStr()) + "/events.jsonl");
  std::smatch started;
  ASSERT_TRUE(std::regex_search(events, started, std::regex("\"atNs\":\"?(\\d+)[^\n]*\"scenarioStarted\"")))
      << events;
  const auto clock = record->getClock();
  const int64_t startedNs = std::stoll(started[1]) + clock.getOffsetNs();
  EXPECT_GT(startedNs + static_cast<int64_t>(clock.getErrorNs()), static_cast<int64_t>(writes[0].getAtNs()));
}

bool hasStimulus(const RunResult& run, const std::string& detail) {
  for (const auto phase : run.record().getTimeline()) {
    for (const auto stimulus : phase.getStimuli()) {
      if (stimulus.getDetail() == detail.c_str()) return true;
    }
  }
  return false;
}

// Of two writes at the start none is made, as one of them cannot be; the scheduler works, until the host
// writes in the midst of it.
TEST(RunWithMapWrites, AllOrNoneAndACrashIsReproducedAsExpected) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCX_FAULT();
  const Scheduler fault{.name = "fault", .binary = scxFault()};
  const TestSpec spec{
      .scheduler = fault, .bpfMapWrites = {".bss:fault=FAULT_STALL", ".nothing:x=1"}, .expectError = true};
  Context context(spec, "debian:7.3");
  context.run(
      say::Scenario("crash", "A fault that is switched on while the scheduler works")
          .backdrop(say::Cgroup("all").work(say::spinWait(3)))
          .step(say::Step("calm").op(say::writeMap({".bss:fault=FAULT_NONE"})).hold(say::fixedMs(300)))
          .step(say::Step("crash")
                    .op(say::writeMap({".bss:fault=FAULT_ERROR_EXIT"}))
                    .hold(say::fixedMs(9000))));
  const RunResult& run = context.last();
  EXPECT_EQ(run.notReproduced(), "");

  const auto writes = run.record().getMapWrites();
  ASSERT_EQ(writes.size(), 4u) << run.reasons();
  EXPECT_STREQ(writes[0].getFailure().cStr(), "held-back");
  EXPECT_STREQ(writes[1].getFailure().cStr(), "map-unknown");
  EXPECT_THAT(run.reasons(),
              HasSubstr("map-write-failed: --map-write .nothing:x=1 was not made: map-unknown"));
  for (unsigned step : {0U, 1U}) {
    const auto write = writes[2 + step];
    EXPECT_STREQ(write.getFailure().cStr(), "") << write.getProblem().cStr();
    EXPECT_TRUE(write.getOfOperation());
    EXPECT_EQ(write.getStep(), step);
    EXPECT_EQ(write.getOp(), 0u);
    EXPECT_EQ(write.getBefore(), 0u) << "the start's write was held back";
    EXPECT_EQ(write.getAfter(), step == 0 ? 0u : 7u);
  }
  for (const char* value : {"FAULT_NONE", "FAULT_ERROR_EXIT"})
    EXPECT_TRUE(hasStimulus(run, text("writeMap .bss:fault=", value))) << value;

  const auto finding = run.record().getVerdict().getFindings()[0];
  EXPECT_STREQ(finding.getName().cStr(), "scheduler-exited") << run.reasons();
  EXPECT_THAT(finding.getMessage().cStr(), HasSubstr("scx_fault gives up on "));
  EXPECT_THAT(finding.getEvidence().cStr(),
              ::testing::ContainsRegex("provoked by the host's write .bss:fault=FAULT_ERROR_EXIT. It came "
                                       "[0-9.]+ m?s before .operation 0 of crash."));
  EXPECT_EQ(run.snapshot("scheduler-error").var("fault").asStr(), "FAULT_ERROR_EXIT");
}

}  // namespace
}  // namespace ktstr::testing
