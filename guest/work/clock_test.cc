#include "guest/work/clock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "protocol/fd.h"

namespace ktstr::work {
namespace {

constexpr uint64_t bound = 500;

// Between two readings of the kernel's, whatever comes between these.
void expectRight(uint64_t forNs) {
  uint64_t last = 0;
  for (const uint64_t end = monotonicNs() + forNs; last < end;) {
    const uint64_t before = monotonicNs(), now = clockNs(), after = monotonicNs();
    ASSERT_GE(now + bound, before);
    ASSERT_LE(now, after + bound);
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, IsTheKernelsInEveryThreadAndAfterASleep) {
  expectRight(50'000'000);
  usleep(20'000);
  expectRight(5'000'000);
  std::thread([] { expectRight(20'000'000); }).join();
}

TEST(ClockTest, AReadingTakesNoLongerThanTheKernels) {
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < 100; i++) {
    const uint64_t begin = monotonicNs();
    for (int j = 1; j < 50; j++) monotonicNs();
    best = std::min(best, monotonicNs() - begin);
  }
  EXPECT_GE(clockCostNs(), 1U);
  EXPECT_LE(clockCostNs(), best / 50 * 2 + 10);
}

}  // namespace
}  // namespace ktstr::work
