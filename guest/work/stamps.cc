// Where a seat measures: what the benchmark leaves out.
#include "guest/work/seat.h"

namespace ktstr::work {

void Seat::beginWait() {
  telemetry.block();
  me().wokenNs.store(0, std::memory_order_relaxed);  // a waker that does not see it yet came before the wait
}

void Seat::endWait() {
  const uint64_t wokenNs = me().wokenNs.load(std::memory_order_relaxed);
  wokenNs != 0 ? telemetry.resume(wokenNs) : telemetry.rearm();
}

void Seat::notify(uint32_t first, uint32_t count) {
  uint64_t now = 0;
  for (uint32_t target = first; target < first + count; target++) {
    uint64_t none = 0;
    std::atomic<uint64_t>& woken = members[target].wokenNs;
    if (woken.load(std::memory_order_relaxed) != 0) continue;
    if (now == 0) now = clockNs();
    woken.compare_exchange_strong(none, now);
  }
}

void Seat::notifyAt(uint32_t target, uint64_t ns) {
  std::atomic<uint64_t>& woken = members[target].wokenNs;
  if (woken.load(std::memory_order_relaxed) == 0) woken.store(ns, std::memory_order_relaxed);
}

}  // namespace ktstr::work
