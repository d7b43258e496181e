#include "orchestrator/assertions.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

namespace ktstr {
namespace {

TEST(Assertions, emptyOnesAreTheDefaults) {
  capnp::MallocMessageBuilder message;
  const Limits limits = mergeAssertions(message.initRoot<rpc::Assertions>().asReader());
  EXPECT_TRUE(limits.notStarved);
  EXPECT_TRUE(limits.isolation);
  EXPECT_TRUE(limits.failOnStall);
  EXPECT_EQ(limits.maxSpreadPct, 35);
  EXPECT_FALSE(limits.spreadForAllGroups);
  EXPECT_EQ(limits.maxGapMs, 2000);
  EXPECT_EQ(limits.maxLocalDsqDepth, 50);
  EXPECT_EQ(limits.sustainedSamples, 5u);
  EXPECT_FALSE(limits.maxP99WakeLatencyUs);
  EXPECT_FALSE(limits.minIterationsPerSecond);
  EXPECT_FALSE(limits.maxMigrationRatio);
  EXPECT_FALSE(limits.maxImbalanceRatio);
}

TEST(Assertions, theScenariosChoicesWin) {
  capnp::MallocMessageBuilder message;
  auto assertions = message.initRoot<rpc::Assertions>();
  assertions.setNotStarved(rpc::Choice::NO);
  assertions.setIsolation(rpc::Choice::YES);
  assertions.setFailOnStall(rpc::Choice::NO);
  assertions.setMaxSpreadPct(0);
  assertions.setMaxGapMs(100);
  assertions.setMaxP99WakeLatencyUs(1);
  assertions.setMinIterationsPerSecond(2);
  assertions.setMaxMigrationRatio(0);
  assertions.setMaxImbalanceRatio(4);
  assertions.setMaxLocalDsqDepth(7);
  assertions.setSustainedSamples(3);
  const Limits limits = mergeAssertions(assertions.asReader());
  EXPECT_FALSE(limits.notStarved);
  EXPECT_TRUE(limits.isolation);
  EXPECT_FALSE(limits.failOnStall);
  EXPECT_EQ(limits.maxSpreadPct, 0);
  EXPECT_TRUE(limits.spreadForAllGroups);
  EXPECT_EQ(limits.maxGapMs, 100);
  EXPECT_EQ(limits.maxP99WakeLatencyUs, 1);
  EXPECT_EQ(limits.minIterationsPerSecond, 2);
  EXPECT_EQ(limits.maxMigrationRatio, 0);
  EXPECT_EQ(limits.maxImbalanceRatio, 4);
  EXPECT_EQ(limits.maxLocalDsqDepth, 7);
  EXPECT_EQ(limits.sustainedSamples, 3u);
}

TEST(Assertions, everyWorkTypeIsCpuBoundOrMeasuresWakeLatency) {
  capnp::MallocMessageBuilder message;
  auto type = message.initRoot<rpc::WorkType>();
  const auto check = [&](bool bound) {
    EXPECT_EQ(cpuBound(type), bound);
    EXPECT_EQ(measuresWakeLatency(type), !bound);
  };
  type.initSpinWait();
  check(true);
  type.setYieldHeavy();
  check(true);
  type.initBursty();
  check(false);
  type.initFutexPingPong();
  check(false);
  type.initPipeIo();
  check(false);
}

}  // namespace
}  // namespace ktstr
