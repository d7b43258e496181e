#include "orchestrator/guest_clock.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <limits>

namespace ktstr {
namespace {

constexpr uint64_t ms = 1'000'000;

// An event with guest time `atNs`, which the host took within `slackNs` from host time `tookNs` on.
void take(GuestClock& clock, uint64_t atNs, uint64_t tookNs, uint64_t readBytes, uint64_t seenBytes = 0,
          uint64_t seenNs = 0, uint64_t slackNs = 0) {
  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<rpc::GuestEvent>();
  event.setAtNs(atNs);
  event.setHostReadBytes(seenBytes);
  event.setHostReadSeenNs(seenNs);
  clock.take(event.asReader(), tookNs, tookNs + slackNs, readBytes);
}

TEST(GuestClock, boundsFromBothSidesMeet) {
  const uint64_t offset = 5000 * ms;  // the host is ahead
  GuestClock clock;
  EXPECT_FALSE(clock.offset());
  take(clock, 100 * ms, offset + 103 * ms, 64);  // 3 ms on its way
  EXPECT_FALSE(clock.offset()) << "nothing bounds it from below";
  // The guest saw 2 ms after the fact that the first was read.
  take(clock, 106 * ms, offset + 107 * ms, 128, 64, 105 * ms);
  const auto found = clock.offset();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->offsetNs, static_cast<int64_t>(offset) - static_cast<int64_t>(ms) / 2);
  EXPECT_EQ(found->errorNs, 1500'000U);
  EXPECT_EQ(found->guestNs(offset + 10 * ms), 10 * ms + ms / 2);
  EXPECT_EQ(found->events, 2U);
  EXPECT_EQ(found->exchanges, 1U);
}

TEST(GuestClock, theTightestOfManyCounts) {
  const uint64_t offset = 77 * ms;
  GuestClock clock;
  for (uint64_t i = 1; i < 1000; i++) {
    const uint64_t there = 20 * i * ms, latency = (1 + i * 7919 % 13) * ms, back = (1 + i * 104729 % 11) * ms;
    take(clock, there, there + latency + offset, 64 * i, 64 * (i - 1),
         i == 1 ? 0 : there - 20 * ms + (1 + (i - 1) * 7919 % 13) * ms + back);
  }
  const auto found = clock.offset();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->errorNs, ms) << "1 ms each way at best";
  EXPECT_LE(found->offsetNs - static_cast<int64_t>(found->errorNs), static_cast<int64_t>(offset));
  EXPECT_GE(found->offsetNs + static_cast<int64_t>(found->errorNs), static_cast<int64_t>(offset));
}

TEST(GuestClock, clocksThatDriftMakeTheErrorLarger) {
  GuestClock clock;
  take(clock, 100 * ms, 1100 * ms, 64);
  take(clock, 101 * ms, 1101 * ms, 128, 64, 100 * ms);
  take(clock, 1000 * ms, 1990 * ms, 192);  // the guest is 10 ms ahead of what it was
  take(clock, 1001 * ms, 1991 * ms, 256, 192, 1000 * ms);
  const auto found = clock.offset();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->errorNs, 5 * ms);
  EXPECT_EQ(found->offsetNs, 995 * static_cast<int64_t>(ms));
}

TEST(GuestClock, nothingIsBelievedBlindly) {
  const uint64_t most = std::numeric_limits<uint64_t>::max();
  GuestClock clock;
  take(clock, 0, most, 64, most, most);
  take(clock, most, 0, 128, 0, most);
  take(clock, most / 2, 1, 192, most, most / 3, most - 1);
  take(clock, 1, most / 2, 64, 3, 2);
  clock.offset();  // whatever it is: it has come back
  SUCCEED();
}

}  // namespace
}  // namespace ktstr
