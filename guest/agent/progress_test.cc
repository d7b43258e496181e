#include "guest/agent/progress.h"

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace ktstr::agent {
namespace {

class ProgressTest : public ::testing::Test {
 protected:
  // `count` workers that are this very process.
  void add(const std::string& cgroup, uint32_t count, uint64_t iterations) {
    auto& message = messages_.emplace_back(std::make_unique<capnp::MallocMessageBuilder>());
    auto type = message->initRoot<rpc::WorkType>();
    type.initSpinWait();
    Worker worker;
    worker.cgroup = cgroup;
    worker.work = "spin";
    worker.pid = getpid();
    worker.group = std::make_shared<work::WorkGroup>(type.asReader(), count);
    for (worker.index = 0; worker.index < count; worker.index++) {
      worker.page().iterations = iterations;
      workers_.push_back(worker);
    }
  }

  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages_;
  std::vector<Worker> workers_;
};

TEST_F(ProgressTest, SumsUpWorkGroups) {
  add("a", 3, 100);
  add("b", 2, 7);
  const ProgressReading reading = readProgress(workers_);
  EXPECT_GT(reading.atNs, 0U);
  ASSERT_EQ(reading.groups.size(), 2U);
  EXPECT_EQ(reading.groups[0].cgroup, "a");
  EXPECT_EQ(reading.groups[0].work, "spin");
  EXPECT_EQ(reading.groups[0].workers, 3U);
  EXPECT_EQ(reading.groups[0].iterations, 300U);
  EXPECT_EQ(reading.groups[1].iterations, 14U);
  ASSERT_TRUE(reading.groups[0].timesValid);
  EXPECT_GT(reading.groups[0].cpuNs, 0U);

  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<rpc::GuestEvent>();
  reading.writeBefore(event);
  EXPECT_EQ(event.getBeganNs(), reading.atNs);
  EXPECT_EQ(event.getBefore()[1].getIterations(), 14U);
  EXPECT_FALSE(event.hasProgress());
}

TEST_F(ProgressTest, OfOneThatHasEndedOnlyTheIterationsAreKnown) {
  add("a", 2, 5);
  workers_[1].exit = ChildExit{getpid(), 0, {}};
  const ProgressReading reading = readProgress(workers_);
  EXPECT_EQ(reading.groups[0].workers, 1U);
  EXPECT_EQ(reading.groups[0].iterations, 10U);
  EXPECT_FALSE(reading.groups[0].timesValid);
}

TEST_F(ProgressTest, OfVeryManyWorkersNoTimesAreRead) {
  add("a", maxTimedWorkers, 1);
  EXPECT_TRUE(readProgress(workers_).groups[0].timesValid);
  add("b", 1, 1);
  const ProgressReading reading = readProgress(workers_);
  EXPECT_EQ(reading.groups[0].iterations, maxTimedWorkers);
  EXPECT_FALSE(reading.groups[0].timesValid);
  EXPECT_EQ(reading.groups[0].cpuNs, 0U);
}

TEST(MergeReadings, MakesOneOfACgroupThenOneOfAll) {
  std::vector<GroupReading> groups;
  for (uint32_t i = 0; i < 12; i++)
    groups.push_back({i, i % 2 == 0 ? "even" : "odd", "work", 1, i, 10, 1, i != 3});
  EXPECT_EQ(mergeReadings(groups, 12).size(), 12U);
  const auto two = mergeReadings(groups, 11);
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[0].cgroup, "even");
  EXPECT_EQ(two[0].work, "");
  EXPECT_EQ(two[0].iterations, 30U);
  EXPECT_EQ(two[0].cpuNs, 60U);
  EXPECT_TRUE(two[0].timesValid);
  EXPECT_FALSE(two[1].timesValid);
  const auto one = mergeReadings(groups, 1);
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].cgroup, "*");
  EXPECT_EQ(one[0].workers, 12U);
  EXPECT_EQ(one[0].iterations, 66U);
}

}  // namespace
}  // namespace ktstr::agent
