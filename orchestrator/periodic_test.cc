#include "orchestrator/periodic.h"

#include <gtest/gtest.h>

namespace ktstr {
namespace {

TEST(SnapshotSchedule, runsFromTheScenariosStart) {
  SnapshotSchedule schedule({300, 500});
  EXPECT_FALSE(schedule.next()) << "the scenario has not started";
  schedule.resume(10'000);
  EXPECT_EQ(schedule.next(), 10'300U);
  EXPECT_EQ(schedule.begin(), "periodic_000");
  EXPECT_EQ(schedule.next(), 10'500U);
  EXPECT_FALSE(schedule.done());
  EXPECT_EQ(schedule.begin(), "periodic_001");
  EXPECT_TRUE(schedule.done());
  EXPECT_FALSE(schedule.next());
}

TEST(SnapshotSchedule, pausesMoveWhatIsNotDueYet) {
  SnapshotSchedule schedule({300, 500});
  schedule.resume(10'000);
  schedule.pause(10'200);
  EXPECT_FALSE(schedule.next());
  schedule.pause(10'900);
  schedule.resume(11'000);
  schedule.resume(12'000);
  EXPECT_EQ(schedule.next(), 11'100U);
  schedule.begin();
  EXPECT_EQ(schedule.next(), 11'300U);
}

TEST(SnapshotSchedule, whatThePauseHasOvertakenIsDueAtOnce) {
  SnapshotSchedule schedule({300, 500});
  schedule.resume(10'000);
  schedule.pause(10'350);
  schedule.resume(20'000);
  EXPECT_EQ(schedule.next(), 20'000U);
  schedule.pause(19'000);  // an end that began before the host heard of the start
  schedule.resume(21'000);
  EXPECT_EQ(schedule.next(), 21'000U);
}

}  // namespace
}  // namespace ktstr
