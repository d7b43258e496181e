#include "orchestrator/starvation.h"

#include <gtest/gtest.h>

namespace ktstr {
namespace {

TEST(Starvation, aStretchThatGoesOnIsOne) {
  std::vector<Starvation> list;
  addStarvation(list, {1, 100, 200, 3});
  addStarvation(list, {0, 100, 200, 0});
  addStarvation(list, {1, 200, 310, 4});
  addStarvation(list, {1, 400, 500, 0});
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].toMs, 310);
  EXPECT_EQ(list[0].hostMs, 7);
  EXPECT_EQ(list[2].fromMs, 400);
}

TEST(Starvation, aLackIsThatOfTheMostStarvedVcpuInTheWindow) {
  const std::vector<Starvation> list = {{0, 0, 1000, 50}, {1, 0, 200, 2}, {1, 3000, 3100, 1}};
  EXPECT_EQ(hostLack(list).cpu, 0);
  const HostLack lack = hostLackOf(list, 1);
  EXPECT_EQ(lack.lostMs, 300);
  EXPECT_EQ(lack.hostMs, 3);
  EXPECT_EQ(
      lack.describe(),
      "the host gave vCPU 1 only 3 ms of CPU time in 300 ms (1 %), between 0 and 3100 ms of the scenario");
  EXPECT_EQ(hostLackOf(list, 1, {100, 1000}).lostMs, 100);
  EXPECT_EQ(hostLackOf(list, 1, {100, 1000}).hostMs, 1);
  EXPECT_EQ(hostLackOf(list, 1, {300, 1000}).lostMs, 0);
  EXPECT_EQ(hostLackOf(list, 2).lostMs, 0);
  EXPECT_EQ(hostLack(list, {2000, 4000}).cpu, 1);
}

TEST(Starvation, theMachineAsAWholeCountsForEachVcpu) {
  const std::vector<Starvation> list = {{-1, 0, 400, 0}, {1, 400, 500, 5}};
  EXPECT_EQ(hostLack(list).lostMs, 500);
  EXPECT_EQ(hostLackOf(list, 2).lostMs, 400);
  EXPECT_EQ(hostLack({{-1, 0, 400, 0}}).describe(),
            "the host did not run the machine for 400 ms, between 0 and 400 ms of the scenario");
}

TEST(Starvation, ofAWaitIsNeverMoreThanItsLengthHolds) {
  const std::vector<Starvation> scattered = {
      {0, 0, 300, 0}, {0, 1000, 1400, 0}, {0, 1500, 1700, 0}, {1, 0, 100, 0}};
  EXPECT_EQ(densestLack(scattered, 500).lostMs, 400);
  EXPECT_EQ(densestLack(scattered, 700).lostMs, 600);
  EXPECT_EQ(densestLack(scattered, 700).fromMs, 1000);
  EXPECT_EQ(densestLack(scattered, 5000).lostMs, 900);
  EXPECT_EQ(densestLack({}, 1000).lostMs, 0);
  EXPECT_FALSE(densestLack(scattered, 1600).explains(1600)) << "although it was 900 in all";
}

TEST(Starvation, OutsideOfAWindowDoesNotCountInIt) {
  const std::vector<Starvation> list = {{0, 0, 1000, 100}, {1, 1500, 1600, 10}, {0, 2000, 3000, 0}};
  const auto parts = within(list, {500, 1700});
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].fromMs, 500);
  EXPECT_EQ(parts[0].hostMs, 50);
  EXPECT_EQ(parts[1].toMs, 1600);
  EXPECT_EQ(densestLack(within(list, {900, 1900}), 1000).lostMs, 100);
}

TEST(Starvation, explainsAWaitOfWhichItIsMoreThanHalf) {
  const HostLack lack = hostLack({{0, 0, 2500, 0}});
  EXPECT_TRUE(lack.explains(4999));
  EXPECT_FALSE(lack.explains(5000));
  EXPECT_FALSE(HostLack{}.explains(1));
}

}  // namespace
}  // namespace ktstr
