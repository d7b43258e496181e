// The orchestrator's end of the guest: events from the mailbox, woken by the doorbell, and the console.
#pragma once

#include <capnp/message.h>
#include <kj/async-io.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/guest_clock.h"
#include "orchestrator/record_store.h"
#include "protocol/fd.h"
#include "protocol/mailbox.h"
#include "protocol/report.capnp.h"

namespace ktstr {

inline constexpr size_t consoleLimit = size_t{4} << 20;  // bytes of console judged; the record keeps more
inline constexpr size_t eventLimit = 100'000;            // events kept of one run

class GuestLink {
 public:
  using OnEvent = std::function<void(rpc::GuestEvent::Reader)>;

  // Writes the orders into the mailbox. Each event becomes a JSON line in the record, the scheduler's output
  // and the console are copied there as they come; `record` outlives the link.
  GuestLink(Mapping mailbox, std::span<const std::byte> orders, PendingRecord& record, OnEvent onEvent);

  // Reads console and doorbell until both are closed; also looks into the mailbox every 100 ms, so that a
  // lost ring of the bell costs little. Never fails: what goes wrong with the mailbox is in corruption().
  kj::Promise<void> pump(kj::AsyncIoProvider& provider, kj::LowLevelAsyncIoProvider& io, Fd console,
                         Fd doorbell);

  ~GuestLink();
  void drain();        // takes every event that is there now
  void letGoOn();      // a guest that waits for the host, or will: once for each time that it does
  void requestStop();  // asks the agent to end the scenario, report and power off
  // Asks the agent for the scheduler's statistics, and wakes it; the number of the event schedulerStats.
  uint32_t requestStats();

  // In the order in which they came; valid as long as the link.
  std::vector<rpc::GuestEvent::Reader> events() const;
  const GuestClock& clock() const { return clock_; }
  const std::string& console() const { return console_; }
  const std::string& corruption() const { return corruption_; }  // empty: none
  uint64_t dropped() const { return mailbox_.dropped(); }

 private:
  struct Message;

  kj::Promise<void> pumpConsole(kj::Own<kj::AsyncInputStream> stream);
  kj::Promise<void> pumpDoorbell(kj::Own<kj::AsyncInputStream> stream);
  kj::Promise<void> poll(kj::Timer& timer);
  void take(const std::vector<std::byte>& bytes, uint64_t beforeNs, uint64_t afterNs);

  Mapping memory_;
  HostMailbox mailbox_;
  Fd bell_;  // the guest's end hears it
  PendingRecord& record_;
  OnEvent onEvent_;
  GuestClock clock_;
  std::vector<std::unique_ptr<Message>> events_;
  std::string console_;
  std::string corruption_;
};

}  // namespace ktstr
