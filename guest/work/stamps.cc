// Where a seat measures: what the benchmark leaves out.
#include "guest/work/seat.h"

namespace ktstr::work {

void Seat::beginWait() {
  telemetry.block();
  me().wokenNs.store(0);
}

void Seat::endWait() {
  const uint64_t wokenNs = me().wokenNs.load();
  wokenNs != 0 ? telemetry.resume(wokenNs) : telemetry.rearm();
}

void Seat::notify(uint32_t target) {
  uint64_t none = 0;
  std::atomic<uint64_t>& woken = members[target].wokenNs;
  if (woken.load(std::memory_order_relaxed) == 0) woken.compare_exchange_strong(none, monotonicNs());
}

}  // namespace ktstr::work
