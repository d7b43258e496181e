// The mailbox: a page of orders from the host and a ring of events from the guest, in a memfd of its own that
// the orchestrator and the guest both map. A byte on the doorbell (second serial port) says "look".
//
// Layout, little endian, offsets in bytes:
//   0     MailboxHeader
//   4096  orders: ordersSize bytes, at most ordersCapacity: one flat message (report.capnp GuestOrders)
//   4096 + ordersCapacity   ring: ringCapacity bytes, a power of two
//
// A ring record is u32 length (not 0), u32 crc32 of the payload, payload (one flat message), padding to a
// multiple of 8. Indices only grow; position = index % ringCapacity. The guest owns `head`, the host owns
// `tail`. A record that does not fit is dropped and counted in `dropped`, never written over unread ones.
//
// Each side treats everything the other side wrote as hostile: indices, lengths and checksums are checked, a
// reader copies a payload out before it looks into it, and a violation is an Error, not a crash.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ktstr {

inline constexpr uint32_t mailboxMagic = 0x5854534b;  // "KSTX"
inline constexpr uint32_t mailboxVersion = 1;
inline constexpr size_t mailboxOrdersOffset = 4096;

struct MailboxHeader {
  uint32_t magic;
  uint32_t version;
  uint64_t ordersCapacity;
  uint64_t ordersSize;
  uint64_t ringCapacity;
  std::atomic<uint64_t> head;           // guest: bytes ever written
  std::atomic<uint64_t> tail;           // host: bytes ever consumed
  std::atomic<uint64_t> dropped;        // guest: records that did not fit
  std::atomic<uint32_t> stopRequested;  // host: 1 = end the scenario now, report and power off
  std::atomic<uint32_t> letGo;  // host: how often it has let the guest go on, see Supervisor::awaitHost()
  std::atomic<uint32_t> statsRequests;  // host: how often it has asked for the scheduler's own statistics
};
static_assert(sizeof(MailboxHeader) <= mailboxOrdersOffset);

// How a mailbox of `size` bytes is laid out: orders get a quarter, the ring the largest power of two that
// fits.
struct MailboxLayout {
  size_t ordersCapacity;
  size_t ringOffset;
  size_t ringCapacity;
};
// Throws Error "mailbox-too-small" below 64 KiB.
MailboxLayout mailboxLayout(size_t size);

// The host's side. `memory` must outlive it and is at least 64 KiB.
class HostMailbox {
 public:
  // Writes the header and the orders into zeroed memory. Throws Error "orders-too-large" with size and
  // capacity.
  HostMailbox(std::span<std::byte> memory, std::span<const std::byte> orders);
  // Next event's bytes, or nothing if the ring is empty. Throws Error "mailbox-corrupt" with the offending
  // index, length or checksum; after that the mailbox must not be read again.
  std::optional<std::vector<std::byte>> next();
  uint64_t consumed() const { return tail_; }  // bytes of the ring
  void requestStop();
  void letGoOn();
  uint32_t requestStats();  // the request's number, from 1
  uint64_t dropped() const;

 private:
  MailboxHeader* header_;
  std::span<std::byte> ring_;
  uint64_t tail_ = 0;
  uint32_t letGo_ = 0, statsRequests_ = 0;
};

// The guest's side.
class GuestMailbox {
 public:
  // Throws Error "mailbox-invalid" if magic, version or sizes are wrong.
  explicit GuestMailbox(std::span<std::byte> memory);
  std::vector<std::byte> orders() const;
  // Whether `length` bytes fit now. For a writer that can wait: a refused post counts as dropped.
  bool fits(size_t length) const;
  // False: empty or did not fit; counted. Only from the process that made this object.
  bool post(std::span<const std::byte> payload);
  uint64_t posted() const { return head_; }  // bytes of the ring
  uint64_t consumed() const;                 // as the host says
  bool stopRequested() const;
  uint32_t letGo() const;
  uint32_t statsRequested() const;  // the last request's number; 0: none
  uint64_t dropped() const;

 private:
  MailboxHeader* header_;
  std::span<const std::byte> orders_;
  std::span<std::byte> ring_;
  uint64_t head_ = 0;
};

// CRC-32 (IEEE 802.3), as zlib's crc32().
uint32_t crc32(std::span<const std::byte> bytes);

}  // namespace ktstr
