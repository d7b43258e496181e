// CLOCK_MONOTONIC for those who read it in every iteration.
#pragma once

#include <x86intrin.h>

#include <cstdint>

namespace ktstr::work {

// What a thread knows about the clock: where it stood at a reading of the TSC, and how much it goes on by.
struct ClockBase {
  uint64_t ticks = 0;       // the TSC; 0: never read
  uint64_t ns = 0;          // CLOCK_MONOTONIC at that moment
  uint64_t validTicks = 0;  // for so long after it the two below hold; 0: the kernel is to be asked
  uint64_t nsPerTick = 0;   // times 2^32
  uint64_t lastNs = 0;      // what clockNs() returned last
};
inline constinit thread_local ClockBase clockBase;

// The vDSO's reading; renews clockBase if it is time to.
uint64_t askKernelForTime();

// Now, in ns of CLOCK_MONOTONIC; never less than before in the same thread. Where the kernel itself counts
// the TSC (its clocksource is "tsc": it has found all CPUs to agree) so does this, for a half to a third of
// what the vDSO takes, and asks the vDSO at the first reading 1 ms after the last such question. It is off by
// what a tick is misjudged in 1 ms: tens of ns on hardware, below 500 ns everywhere. Elsewhere it is the
// vDSO.
inline uint64_t clockNs() {
  ClockBase& base = clockBase;
  const uint64_t passed = __rdtsc() - base.ticks;
  if (passed >= base.validTicks) return askKernelForTime();
  const uint64_t now = base.ns + (passed * base.nsPerTick >> 32);
  if (now > base.lastNs) base.lastNs = now;
  return base.lastNs;
}

// What one reading takes here, in ns; measured (for about 1 ms) when it is asked for the first time. Who does
// that before a fork gives it, and a valid clockBase, to the children.
uint64_t clockCostNs();

}  // namespace ktstr::work
