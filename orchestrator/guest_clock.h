// How the guest's CLOCK_MONOTONIC compares to the host's, from the traffic in the mailbox alone. No latency
// is guessed: each bound holds for certain.
//
//   - An event made at guest time g was there when the host looked at host time h: host - guest <= h - g.
//   - The host had read so much of the ring not before host time h, and the guest saw that it had at guest
//     time g (GuestEvent.hostReadBytes): host - guest >= h - g.
//
// The offset is the middle between the tightest bounds of both kinds, and half their distance the error. The
// agent waits for the host at the scenario's start and end, which makes it a few hundred microseconds on an
// idle host. Bounds that cross tell that the clocks drift apart within the run: the error covers that as
// well.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"

namespace ktstr {

struct ClockOffset {
  int64_t offsetNs = 0;  // host - guest
  uint64_t errorNs = 0;
  uint32_t events = 0, exchanges = 0;  // that told something

  uint64_t guestNs(uint64_t hostNs) const { return hostNs - static_cast<uint64_t>(offsetNs); }
};

class GuestClock {
 public:
  // An event that the host took: not before `beforeNs` it had read `readBytes` of the ring, and by `afterNs`
  // it had looked; both are host time.
  void take(rpc::GuestEvent::Reader event, uint64_t beforeNs, uint64_t afterNs, uint64_t readBytes);

  // Nothing without a bound of each kind.
  std::optional<ClockOffset> offset() const;

 private:
  struct Read {
    uint64_t bytes, beforeNs;
  };
  void exchange(uint64_t readBytes, uint64_t seenNs);

  std::optional<int64_t> atMost_, atLeast_;
  uint32_t events_ = 0, exchanges_ = 0;
  uint64_t lastSeenNs_ = 0;
  std::vector<Read> reads_;  // in order
};

void writeClock(const std::optional<ClockOffset>& clock, rpc::RunRecord::Builder record);

}  // namespace ktstr
