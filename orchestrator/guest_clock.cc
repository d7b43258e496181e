#include "orchestrator/guest_clock.h"

#include <algorithm>

namespace ktstr {
namespace {

// Also of values that a hostile guest made up.
int64_t difference(uint64_t hostNs, uint64_t guestNs) {
  return static_cast<int64_t>(hostNs - guestNs);
}

}  // namespace

void GuestClock::take(rpc::GuestEvent::Reader event, uint64_t beforeNs, uint64_t afterNs,
                      uint64_t readBytes) {
  events_++;
  const int64_t bound = difference(afterNs, event.getAtNs());
  atMost_ = std::min(atMost_.value_or(bound), bound);
  if (event.getHostReadSeenNs() > lastSeenNs_) exchange(event.getHostReadBytes(), event.getHostReadSeenNs());
  reads_.push_back({readBytes, beforeNs});
}

void GuestClock::exchange(uint64_t readBytes, uint64_t seenNs) {
  const auto later = [](uint64_t bytes, const Read& read) { return bytes < read.bytes; };
  const auto after = std::upper_bound(reads_.begin(), reads_.end(), readBytes, later);
  if (after == reads_.begin()) return;
  lastSeenNs_ = seenNs;
  exchanges_++;
  const int64_t bound = difference(std::prev(after)->beforeNs, seenNs);
  atLeast_ = std::max(atLeast_.value_or(bound), bound);
}

std::optional<ClockOffset> GuestClock::offset() const {
  if (!atMost_ || !atLeast_) return std::nullopt;
  const auto low = static_cast<__int128>(std::min(*atLeast_, *atMost_));
  const auto high = static_cast<__int128>(std::max(*atLeast_, *atMost_));
  return ClockOffset{static_cast<int64_t>(low + (high - low) / 2),
                     static_cast<uint64_t>((high - low + 1) / 2), events_, exchanges_};
}

void writeClock(const std::optional<ClockOffset>& clock, rpc::RunRecord::Builder record) {
  if (!clock) return;
  auto out = record.initClock();
  out.setOffsetNs(clock->offsetNs);
  out.setErrorNs(clock->errorNs);
  out.setEvents(clock->events);
  out.setExchanges(clock->exchanges);
}

}  // namespace ktstr
