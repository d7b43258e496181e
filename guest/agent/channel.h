// The agent's line to the host: events go into the mailbox, and each rings the doorbell.
#pragma once

#include <capnp/message.h>

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "guest/agent/failure.h"
#include "protocol/fd.h"
#include "protocol/mailbox.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

class Channel {
 public:
  // `memory` must outlive it. `doorbell` may be none; it must not block. Throws Error "mailbox-invalid".
  Channel(std::span<std::byte> memory, Fd doorbell);

  std::vector<std::byte> orders() const { return mailbox_.orders(); }
  bool stopRequested() const { return mailbox_.stopRequested(); }
  uint32_t letGo() const { return mailbox_.letGo(); }
  uint32_t statsRequested() const { return mailbox_.statsRequested(); }
  int doorbell() const { return doorbell_.get(); }
  void drainDoorbell();  // forgets the host's bytes

  // Who completes GuestEvent.progress of the events that have it; none: nobody.
  using OnChange = std::function<void(rpc::GuestEvent::Builder)>;
  void setOnChange(OnChange onChange) { onChange_ = std::move(onChange); }

  // Posts one event that `fill(rpc::GuestEvent::Builder)` completes, with the time of now. A full ring is
  // waited for once for a short while; then events are dropped (and counted) at once, until the host has made
  // room again.
  template <typename Fill>
  void post(Fill&& fill) {
    capnp::MallocMessageBuilder message;
    auto event = message.initRoot<rpc::GuestEvent>();
    stamp(event);
    fill(event);
    if (onChange_ && changesWork(event)) onChange_(event);
    send(message, patienceNs);
  }
  // Waits up to `milliseconds` for the host to have read everything: the next event then tells how the
  // clocks compare.
  void awaitHost(uint64_t milliseconds);
  void failure(const Failure& failure);
  // The last event, preceded by failure mailboxFull if any was dropped. Room for the two is set aside.
  // Returns when the bell has been rung.
  void done();

  // Posts without waiting for room. False: did not fit. For fault injection.
  bool postAtOnce(const std::string& log);

 private:
  static constexpr uint64_t patienceNs = 300'000'000;
  static constexpr size_t reserveBytes = 2048;

  static bool changesWork(rpc::GuestEvent::Reader event);
  void stamp(rpc::GuestEvent::Builder event);
  void noteConsumed();
  bool send(capnp::MessageBuilder& message, uint64_t patience, size_t reserve = reserveBytes);
  void ring();
  uint64_t dropped() const { return mailbox_.dropped() + withheld_; }

  GuestMailbox mailbox_;
  Fd doorbell_;
  OnChange onChange_;
  uint64_t consumed_ = 0, consumedSeenNs_ = 0;  // of the ring, and when that was first seen
  bool full_ = false;                           // the last event did not fit
  uint64_t withheld_ = 0;                       // events that would have used the reserve
};

}  // namespace ktstr::agent
