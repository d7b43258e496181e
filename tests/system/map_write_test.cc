// Values of BPF maps that a run writes by itself: made, seen by the scheduler, or named with what there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <stdexcept>

#include "protocol/file.h"
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
  // The scenario began when they were there.
  const std::string events = readFile(std::string(record->getDirectory().cStr()) + "/events.jsonl");
  std::smatch started;
  ASSERT_TRUE(std::regex_search(events, started, std::regex("\"atNs\":\"?(\\d+)[^\n]*\"scenarioStarted\"")))
      << events;
  const auto clock = record->getClock();
  const int64_t startedNs = std::stoll(started[1]) + clock.getOffsetNs();
  EXPECT_GT(startedNs + static_cast<int64_t>(clock.getErrorNs()), static_cast<int64_t>(writes[1].getAtNs()));
  EXPECT_FALSE(record.hasFinding("map-write-failed")) << record.findings();
}

TEST(RunWithMapWrites, AllOrNoneAndNamesWhatThereIs) {
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_simple");
  const Record record = runWriting({".data:uei.kind=1", ".nothing:x=1"});
  ASSERT_EQ(record->getMapWrites().size(), 2u) << record.findings();
  EXPECT_STREQ(record->getMapWrites()[0].getFailure().cStr(), "held-back");
  EXPECT_STREQ(record->getMapWrites()[1].getFailure().cStr(), "map-unknown");
  EXPECT_TRUE(record.hasFinding("map-write-failed"));
  EXPECT_THAT(record.findings(), HasSubstr(".data"));
  EXPECT_FALSE(record.hasFinding("scheduler-exited")) << "the other one was not made either";
}

}  // namespace
}  // namespace ktstr::testing
