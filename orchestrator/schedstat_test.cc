#include "orchestrator/schedstat.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

namespace ktstr {
namespace {

constexpr uint64_t ms = 1'000'000;

struct Cpu {
  uint64_t runDelayNs;
  uint32_t schedules, wakeups, local;
};

std::optional<SchedstatCounts> next(SchedstatWatch& watch, uint64_t atNs,
                                    std::vector<std::optional<Cpu>> cpus) {
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::Sample>();
  sample.setAtNs(atNs);
  auto list = sample.initCpus(static_cast<unsigned>(cpus.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setCpu(i);
    if (!cpus[i]) continue;
    auto schedstat = list[i].initSchedstat();
    schedstat.setRunDelayNs(cpus[i]->runDelayNs);
    schedstat.setSchedCount(cpus[i]->schedules);
    schedstat.setTtwuCount(cpus[i]->wakeups);
    schedstat.setTtwuLocal(cpus[i]->local);
  }
  return watch.next(sample.asReader());
}

TEST(Schedstat, RatesOfAllCpusTogether) {
  SchedstatWatch watch;
  EXPECT_FALSE(next(watch, 1000 * ms, {Cpu{0, 10, 5, 5}, Cpu{7 * ms, 0, 0, 0}}));
  const auto counts = next(watch, 1500 * ms, {Cpu{100 * ms, 510, 25, 10}, Cpu{57 * ms, 500, 20, 5}});
  ASSERT_TRUE(counts);
  EXPECT_DOUBLE_EQ(counts->runDelayMsPerSecond().value(), 300);
  EXPECT_DOUBLE_EQ(counts->schedulesPerSecond().value(), 2000);
  EXPECT_DOUBLE_EQ(counts->localWakeupShare().value(), 0.25);
  SchedstatCounts sum = *counts;
  sum.add({500 * ms, 0, 0, 10, 10});
  EXPECT_DOUBLE_EQ(sum.schedulesPerSecond().value(), 1000);
  EXPECT_DOUBLE_EQ(sum.localWakeupShare().value(), 0.4);
}

TEST(Schedstat, CountersOf32BitsWrap) {
  SchedstatWatch watch;
  next(watch, 1000 * ms, {Cpu{0, 0xffff'fff0, 0xffff'ffff, 7}});
  const auto counts = next(watch, 2000 * ms, {Cpu{0, 0x10, 3, 8}});
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->schedules, 32u);
  EXPECT_EQ(counts->wakeups, 4u);
}

TEST(Schedstat, WhatIsNotKnownIsNotZero) {
  SchedstatWatch watch;
  next(watch, 1000 * ms, {Cpu{5, 1, 1, 1}, Cpu{5, 1, 1, 1}});
  EXPECT_FALSE(next(watch, 1100 * ms, {Cpu{6, 2, 2, 2}, std::nullopt}));
  EXPECT_FALSE(next(watch, 1200 * ms, {Cpu{7, 3, 3, 3}, Cpu{6, 2, 2, 2}})) << "not in the one before";
  EXPECT_TRUE(next(watch, 1300 * ms, {Cpu{8, 4, 4, 4}, Cpu{7, 3, 3, 3}}));
  EXPECT_FALSE(next(watch, 1400 * ms, {Cpu{0, 4, 4, 4}, Cpu{7, 3, 3, 3}})) << "another kernel";
  EXPECT_FALSE(next(watch, 1400 * ms, {Cpu{9, 5, 5, 5}, Cpu{8, 4, 4, 4}})) << "no time between";
  const SchedstatCounts off{1000 * ms, 5 * ms, 0, 0, 0};  // kernel.sched_schedstats = 0
  EXPECT_DOUBLE_EQ(off.runDelayMsPerSecond().value(), 5);
  EXPECT_FALSE(off.schedulesPerSecond());
  EXPECT_FALSE(off.localWakeupShare());
  EXPECT_FALSE(SchedstatCounts{}.runDelayMsPerSecond());
}

}  // namespace
}  // namespace ktstr
