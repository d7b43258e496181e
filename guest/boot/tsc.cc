#include "guest/boot/tsc.h"

#include <x86intrin.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace ktstr {

namespace {

constexpr uint64_t leastNanoseconds = 2'000'000;

uint64_t rawNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

// The tightest of a few readings, so that being preempted between the two clocks does not count.
TscMeter::Sample TscMeter::sample() {
  Sample best{};
  uint64_t bestSpan = UINT64_MAX;
  for (int i = 0; i < 8; i++) {
    const uint64_t before = __rdtsc();
    const uint64_t nanoseconds = rawNanoseconds();
    const uint64_t span = __rdtsc() - before;
    if (span < bestSpan) {
      bestSpan = span;
      best = {before + span / 2, nanoseconds};
    }
  }
  return best;
}

uint64_t TscMeter::kilohertz() const {
  Sample end = sample();
  while (end.nanoseconds - start_.nanoseconds < leastNanoseconds) end = sample();
  const double megahertz = static_cast<double>(end.ticks - start_.ticks) * 1000 /
                           static_cast<double>(end.nanoseconds - start_.nanoseconds);
  return std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(megahertz))) * 1000;
}

}  // namespace ktstr
