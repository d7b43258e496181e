#include "guest/work/clock.h"

#include <algorithm>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::work {
namespace {

constexpr uint64_t validNs = 1'000'000, shortestBaseNs = 500'000;

// A reading of both clocks. What the TSC stood at is known but for half of `window`.
struct Pair {
  uint64_t ticks, window, ns;
};

Pair readBoth() {
  const uint64_t before = __rdtsc(), ns = monotonicNs(), after = __rdtsc();
  return {before + (after - before) / 2, after - before, ns};
}

// The longest window of a pair that nothing came between; 0: the kernel does not count the TSC.
uint64_t longestWindow() {
  const char* const source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
  if (readFileIfThere(source).value_or("") != "tsc\n") return 0;
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < 100; i++) best = std::min(best, readBoth().window);
  return best * 3;
}

void renew(ClockBase& base, const Pair& pair) {
  const uint64_t ns = pair.ns - base.ns;
  if (base.ticks != 0) {
    if (ns < shortestBaseNs) return;
    const double nsPerTick = static_cast<double>(ns) / static_cast<double>(pair.ticks - base.ticks);
    base.nsPerTick = static_cast<uint64_t>(nsPerTick * 0x1p32);
    base.validTicks = static_cast<uint64_t>(validNs / nsPerTick);
  }
  base.ticks = pair.ticks;
  base.ns = pair.ns;
}

uint64_t measureCost() {
  constexpr int series = 20, readings = 50;
  for (const uint64_t end = clockNs() + 2 * shortestBaseNs; clockNs() < end;) continue;
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < series; i++) {
    const uint64_t begin = clockNs();
    for (int j = 1; j < readings; j++) clockNs();
    best = std::min(best, clockNs() - begin);
  }
  return std::max<uint64_t>(best / readings, 1);
}

}  // namespace

uint64_t askKernelForTime() {
  static const uint64_t longest = longestWindow();
  const Pair pair = readBoth();
  ClockBase& base = clockBase;
  if (pair.window <= longest) renew(base, pair);
  return base.lastNs = std::max(base.lastNs, pair.ns);
}

uint64_t clockCostNs() {
  static const uint64_t cost = measureCost();
  return cost;
}

}  // namespace ktstr::work
