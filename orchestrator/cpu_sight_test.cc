#include "orchestrator/cpu_sight.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

namespace ktstr {
namespace {

constexpr uint64_t ms = 1'000'000;

const CpuSight busy{true, 1, 100};

// Two sights of a CPU that ran `pid` all the time, `wallMs` apart, whose vCPU had `hostMs` of a host CPU.
struct Pair {
  CpuSight before, now;
};
Pair pairOf(uint64_t hostMs, uint64_t wallMs) {
  return {{true, 2, 100, false, 4321 * ms, 9000 * ms},
          {true, 2, 100, false, (4321 + hostMs) * ms, (9000 + wallMs) * ms}};
}

TEST(CpuSight, onePredicateDecidesAStall) {
  EXPECT_TRUE(stalledBetween(busy, busy));
  EXPECT_FALSE(stalledBetween(busy, {true, 1, 101}));
  EXPECT_FALSE(stalledBetween(busy, {true, 0, 100}));
  EXPECT_FALSE(stalledBetween({true, 0, 100}, busy));
  const CpuSight leaves{true, 0, 100}, idles{true, 0, 100, true};
  EXPECT_TRUE(stalledBetween(leaves, leaves));
  EXPECT_FALSE(stalledBetween(leaves, idles));
  EXPECT_FALSE(stalledBetween(idles, idles));
  EXPECT_FALSE(stalledBetween(busy, {false, 1, 100}));
  EXPECT_FALSE(stalledBetween({false, 1, 100}, busy));
  EXPECT_FALSE(stalledBetween({true, 1, 0}, {true, 1, 0}));
}

TEST(CpuSight, aBusyVcpuWithLessThanATenthOfAHostCpuIsStarved) {
  const auto starved = [](uint64_t hostMs, uint64_t wallMs) {
    const Pair pair = pairOf(hostMs, wallMs);
    return starvedBetween(pair.before, pair.now);
  };
  EXPECT_EQ(starved(0, 100), true);  // stopped
  EXPECT_EQ(starved(9, 100), true);  // a quota of 5 % and a little
  EXPECT_EQ(starved(10, 100), false);
  EXPECT_EQ(starved(25, 100), false);  // one of four busy vCPUs on a host CPU
  EXPECT_EQ(starved(100, 100), false);
  EXPECT_EQ(starved(60, 1000), true);  // a late sample is measured by its own length
  EXPECT_EQ(starved(400, 1000), false);
}

TEST(CpuSight, anIdleVcpuIsNotStarved) {
  Pair pair = pairOf(0, 100);
  pair.now.nrRunning = 0;
  pair.now.idle = true;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
  // Not yet idle: it was to find out that it has nothing to run.
  pair.now.idle = false;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), true);
  // Work waits in its runqueue, but nobody has woken it: that is the scheduler's doing.
  pair = pairOf(0, 100);
  pair.before.idle = pair.now.idle = true;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
  EXPECT_TRUE(stalledBetween(pair.before, pair.now));
}

TEST(CpuSight, anIdleVcpuThatDoesNotDoWhatItIsAskedForIsStarved) {
  for (const uint32_t tasks : {0u, 2u}) {
    Pair pair = pairOf(9, 100);
    pair.before.idle = pair.now.idle = pair.before.asked = pair.now.asked = true;
    pair.before.nrRunning = pair.now.nrRunning = tasks;
    EXPECT_EQ(starvedBetween(pair.before, pair.now), true);
    pair.now.hostTimeNs += 1 * ms;
    EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
    // It was asked only now; it has done it.
    pair = pairOf(0, 100);
    pair.before.idle = pair.now.idle = pair.now.asked = true;
    EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
    std::swap(pair.before.asked, pair.now.asked);
    EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
  }
  // It was asked, and is at work since.
  Pair pair = pairOf(0, 100);
  pair.before.idle = pair.before.asked = true;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), true);
}

TEST(CpuSight, aStarvedVcpuThatGoesIdleCountsOnceMore) {
  Pair pair = pairOf(0, 100);
  pair.before.starved = pair.now.idle = true;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), true);
  pair.before.idle = true;  // tasks on its runqueue and no wake-up: for ever, if need be
  EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
  pair.before.idle = false;
  pair.now.nrRunning = 0;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
  pair = pairOf(20, 100);
  pair.before.starved = pair.now.idle = true;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), false);
}

TEST(CpuSight, anUnknownHostTimeDecidesNothing) {
  Pair pair = pairOf(0, 100);
  pair.before.hostTimeAtNs = 0;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), std::nullopt);
  pair = pairOf(0, 100);
  pair.now.hostTimeAtNs = 0;
  EXPECT_EQ(starvedBetween(pair.before, pair.now), std::nullopt);
  pair = pairOf(0, 100);
  pair.now.hostTimeNs = 1;  // another thread's
  EXPECT_EQ(starvedBetween(pair.before, pair.now), std::nullopt);
}

TEST(CpuSight, readsASample) {
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  auto cpu = sample.initCpus(1)[0];
  cpu.setValid(true);
  cpu.setHostTimeNs(5);
  sample.setVcpuTimesAtNs(7);
  const CpuSight sight = sightOf(sample, cpu);
  EXPECT_TRUE(sight.readable);
  EXPECT_TRUE(sight.idle);
  EXPECT_FALSE(sight.asked);
  cpu.setAsked(true);
  EXPECT_TRUE(sightOf(sample, cpu).asked);
  EXPECT_EQ(sight.hostTimeNs, 5u);
  EXPECT_EQ(sight.hostTimeAtNs, 7u);
  cpu.setCurrPid(1);
  EXPECT_FALSE(sightOf(sample, cpu).idle);
  cpu.setTorn(true);
  EXPECT_FALSE(sightOf(sample, cpu).readable);
}

}  // namespace
}  // namespace ktstr
