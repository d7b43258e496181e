#include "monitor/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/crafted_kernel.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using testing::HasSubstr;

constexpr uint64_t rootAt = 0x1000, staticTimeoutAt = 0x1008, timestampAt = 0x1010, intervalAt = 0x1018,
                   jiffiesAt = 0x1020, tickAt = 0x1028, schedulerAt = 0x2000, timeoutOffset = 40;
const std::map<std::string, uint64_t> common = {{"scx_root", rootAt},
                                                {"scx_watchdog_timestamp", timestampAt},
                                                {"jiffies_64", jiffiesAt},
                                                {"clocksource_jiffies", tickAt}};
const char* const inScheduler =
    "member clocksource.mult 0 4\nmember clocksource.shift 4 4\nmember scx_sched.watchdog_timeout 40 8\n";
const char* const elsewhere =
    "absent scx_sched.watchdog_timeout no member watchdog_timeout\nmember clocksource.mult 0 4\nmember "
    "clocksource.shift 4 4\n";

// 250 ticks a second; a scheduler with a timeout of 30 s is attached.
struct Guest : CraftedKernel {
  explicit Guest(std::map<std::string, uint64_t> symbols, const char* layoutText, uint64_t timeoutAt)
      : CraftedKernel(0x4000, symbols), layout(*KernelLayout::fromText(layoutText)), timeout(timeoutAt) {
    point(rootAt, schedulerAt);
    put<uint32_t>(tickAt, 4'000'000u << 8);
    put<uint32_t>(tickAt + 4, 8);
    put<uint64_t>(jiffiesAt, 5000);
    put<uint64_t>(timestampAt, 4900);
    put<uint64_t>(timeout, 7500);
  }
  // As the VMM's gate would.
  void apply(const Watchdog::Plan& plan) {
    for (const auto& word : plan.words) put<uint64_t>(*kernel().translate(word.address), word.value);
  }
  uint64_t word(uint64_t gpa) const { return *kernel().read<uint64_t>(va(gpa)); }

  KernelLayout layout;
  uint64_t timeout;
};

struct NewGuest : Guest {
  NewGuest() : Guest(withInterval(), inScheduler, schedulerAt + timeoutOffset) {
    put<uint64_t>(intervalAt, 3750);
  }
  static std::map<std::string, uint64_t> withInterval() {
    auto symbols = common;
    symbols["scx_watchdog_interval"] = intervalAt;
    return symbols;
  }
};

TEST(Watchdog, IsSetInTheSchedulerWithTheTimestampFirst) {
  NewGuest guest;
  Watchdog watchdog(guest.kernel(), guest.layout, 2000);
  EXPECT_EQ(watchdog.absent(), "");
  EXPECT_EQ(watchdog.place(), "scx_sched.watchdog_timeout");
  EXPECT_EQ(watchdog.timeoutMs(), 30'000u);
  const auto plan = watchdog.plan();
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->timeout);
  EXPECT_EQ(plan->beforeMs, 30'000u);
  EXPECT_EQ(plan->scheduler, CraftedKernel::va(schedulerAt));
  ASSERT_EQ(plan->words.size(), 3u);
  EXPECT_EQ(guest.kernel().translate(plan->words[0].address), timestampAt)
      << "or the next tick ends the scheduler";
  guest.apply(*plan);
  watchdog.written(*plan);
  EXPECT_EQ(watchdog.timeoutMs(), 2000u);
  EXPECT_EQ(guest.word(timestampAt), 5000u);
  EXPECT_EQ(guest.word(intervalAt), 250u);
}

TEST(Watchdog, TimestampIsKeptFreshUntilTheCheckThatWasArmedHasCome) {
  NewGuest guest;
  Watchdog watchdog(guest.kernel(), guest.layout, 2000);
  const auto first = watchdog.plan();
  guest.apply(*first);
  watchdog.written(*first);
  for (uint64_t jiffies : {5025u, 5050u}) {
    guest.put<uint64_t>(jiffiesAt, jiffies);
    const auto plan = watchdog.plan();
    ASSERT_TRUE(plan);
    EXPECT_FALSE(plan->timeout);
    ASSERT_EQ(plan->words.size(), 1u);
    EXPECT_EQ(plan->words[0].value, jiffies);
    guest.apply(*plan);
    watchdog.written(*plan);
  }
  guest.put<uint64_t>(jiffiesAt, 5075);
  guest.put<uint64_t>(timestampAt, 5060);  // the kernel's own
  EXPECT_FALSE(watchdog.plan());
  guest.put<uint64_t>(jiffiesAt, 5100);
  EXPECT_FALSE(watchdog.plan());
}

TEST(Watchdog, TimestampIsKeptFreshNoLongerThanHalfOfTheOldTimeout) {
  NewGuest guest;
  Watchdog watchdog(guest.kernel(), guest.layout, 2000);
  const auto first = watchdog.plan();
  guest.apply(*first);
  watchdog.written(*first);
  guest.put<uint64_t>(jiffiesAt, 5000 + 3750 - 1);
  EXPECT_TRUE(watchdog.plan());
  guest.put<uint64_t>(jiffiesAt, 5000 + 3750);
  EXPECT_FALSE(watchdog.plan()) << "a guest that runs nobody any more must be found out";
}

TEST(Watchdog, EachSchedulerIsGivenItAnew) {
  NewGuest guest;
  Watchdog watchdog(guest.kernel(), guest.layout, 2000);
  const auto first = watchdog.plan();
  guest.apply(*first);
  watchdog.written(*first);
  guest.put<uint64_t>(rootAt, 0);
  EXPECT_FALSE(watchdog.plan()) << "none is attached";
  guest.point(rootAt, 0x3000);
  guest.put<uint64_t>(0x3000 + timeoutOffset, 1000);
  const auto second = watchdog.plan();
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->timeout);
  EXPECT_EQ(second->beforeMs, 4000u);
  EXPECT_EQ(guest.kernel().translate(second->words[1].address), 0x3000 + timeoutOffset);
}

TEST(Watchdog, OneThatHasItAlreadyIsLeftAlone) {
  NewGuest guest;
  EXPECT_FALSE(Watchdog(guest.kernel(), guest.layout, 30'000).plan());
}

TEST(Watchdog, OlderKernelsKeepItInAVariable) {
  auto symbols = common;
  symbols["scx_watchdog_timeout"] = staticTimeoutAt;
  Guest guest(symbols, elsewhere, staticTimeoutAt);
  const Watchdog watchdog(guest.kernel(), guest.layout, 60'000);
  EXPECT_EQ(watchdog.place(), "scx_watchdog_timeout");
  const auto plan = watchdog.plan();
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->words.size(), 2u);
  EXPECT_EQ(guest.kernel().translate(plan->words[1].address), staticTimeoutAt);
  EXPECT_EQ(plan->words[1].value, 15'000u);
}

TEST(Watchdog, WhatTheKernelLacksIsNamed) {
  Guest guest(common, elsewhere, staticTimeoutAt);
  EXPECT_THAT(Watchdog(guest.kernel(), guest.layout, 2000).absent(),
              testing::AllOf(HasSubstr("scx_watchdog_timeout: no such symbol"),
                             HasSubstr("no member watchdog_timeout")));
  EXPECT_FALSE(Watchdog(guest.kernel(), guest.layout, 2000).plan());
  NewGuest odd;
  odd.put<uint32_t>(tickAt, 0xffffffff);
  EXPECT_THAT(Watchdog(odd.kernel(), odd.layout, 2000).absent(), HasSubstr("clocksource_jiffies"));
  Guest bare({}, inScheduler, schedulerAt);
  EXPECT_THAT(Watchdog(bare.kernel(), bare.layout, 2000).absent(), HasSubstr("scx_root"));
}

TEST(Watchdog, AWildPointerIsNoScheduler) {
  NewGuest guest;
  for (const uint64_t wild : {uint64_t{1}, ~uint64_t{0}, uint64_t{0xffff'8880'ffff'0000}}) {
    guest.put<uint64_t>(rootAt, wild);
    EXPECT_FALSE(Watchdog(guest.kernel(), guest.layout, 2000).plan()) << wild;
  }
}

}  // namespace
}  // namespace ktstr
