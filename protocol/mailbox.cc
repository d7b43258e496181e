#include "protocol/mailbox.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t smallestMailbox = 64 * 1024;

struct RecordHeader {
  uint32_t length;
  uint32_t crc;
};

uint64_t recordSize(size_t length) {
  return (sizeof(RecordHeader) + length + 7) & ~uint64_t{7};
}

// Copies between the ring at a growing index and a plain buffer, across the wrap.
void readRing(std::span<const std::byte> ring, uint64_t index, std::span<std::byte> into) {
  const size_t position = index % ring.size();
  const size_t first = std::min(into.size(), ring.size() - position);
  std::copy_n(ring.begin() + static_cast<ptrdiff_t>(position), first, into.begin());
  std::copy_n(ring.begin(), into.size() - first, into.begin() + static_cast<ptrdiff_t>(first));
}

void writeRing(std::span<std::byte> ring, uint64_t index, std::span<const std::byte> bytes) {
  const size_t position = index % ring.size();
  const size_t first = std::min(bytes.size(), ring.size() - position);
  std::copy_n(bytes.begin(), first, ring.begin() + static_cast<ptrdiff_t>(position));
  std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(first), bytes.size() - first, ring.begin());
}

Error corrupt(const std::string& message) {
  return Error(ExitCode::inconclusive, "mailbox-corrupt", message,
               "the guest overwrote its mailbox; see the console log for a crash");
}

}  // namespace

MailboxLayout mailboxLayout(size_t size) {
  if (size < smallestMailbox) {
    throw Error(ExitCode::usage, "mailbox-too-small",
                text(size, " bytes, at least ", smallestMailbox, " needed"),
                "give the machine a larger mailbox");
  }
  const size_t ordersCapacity = size / 4 / 4096 * 4096;
  const size_t ringOffset = mailboxOrdersOffset + ordersCapacity;
  return {ordersCapacity, ringOffset, std::bit_floor(size - ringOffset)};
}

HostMailbox::HostMailbox(std::span<std::byte> memory, std::span<const std::byte> orders) {
  const MailboxLayout layout = mailboxLayout(memory.size());
  if (orders.size() > layout.ordersCapacity) {
    throw Error(ExitCode::usage, "orders-too-large",
                text(orders.size(), " bytes, at most ", layout.ordersCapacity, " fit into a mailbox of ",
                     memory.size()),
                "shorten the scenario");
  }
  std::copy(orders.begin(), orders.end(), memory.begin() + mailboxOrdersOffset);
  ring_ = memory.subspan(layout.ringOffset, layout.ringCapacity);
  header_ = new (memory.data()) MailboxHeader{};
  header_->version = mailboxVersion;
  header_->ordersCapacity = layout.ordersCapacity;
  header_->ordersSize = orders.size();
  header_->ringCapacity = layout.ringCapacity;
  header_->magic = mailboxMagic;
}

std::optional<std::vector<std::byte>> HostMailbox::next() {
  const uint64_t head = header_->head.load(std::memory_order_acquire);
  if (head == tail_) return std::nullopt;
  const uint64_t available = head - tail_;  // huge if head went backwards
  if (available > ring_.size() || available % 8 != 0) {
    throw corrupt(text("head ", head, ", tail ", tail_, ", capacity ", ring_.size()));
  }
  RecordHeader record{};
  readRing(ring_, tail_, std::as_writable_bytes(std::span(&record, 1)));
  if (record.length == 0 || recordSize(record.length) > available) {
    throw corrupt(
        text("record of ", record.length, " bytes at ", tail_, ", ", available, " bytes available"));
  }
  std::vector<std::byte> payload(record.length);
  readRing(ring_, tail_ + sizeof record, payload);
  const uint32_t crc = crc32(payload);
  if (crc != record.crc) {
    throw corrupt(text("record of ", record.length, " bytes at ", tail_, " has checksum ", hex(crc), ", not ",
                       hex(record.crc)));
  }
  tail_ += recordSize(record.length);
  header_->tail.store(tail_, std::memory_order_release);
  return payload;
}

// Counted by the host alone: what the guest makes of the word harms only itself.
void HostMailbox::letGoOn() {
  header_->letGo.store(++letGo_, std::memory_order_release);
}

void HostMailbox::requestStop() {
  header_->stopRequested.store(1, std::memory_order_release);
}

uint32_t HostMailbox::requestStats() {
  header_->statsRequests.store(++statsRequests_, std::memory_order_release);
  return statsRequests_;
}

uint64_t HostMailbox::dropped() const {
  return header_->dropped.load(std::memory_order_relaxed);
}

GuestMailbox::GuestMailbox(std::span<std::byte> memory) {
  const MailboxLayout layout = mailboxLayout(memory.size());
  header_ = std::launder(reinterpret_cast<MailboxHeader*>(memory.data()));
  const uint64_t ordersSize = header_->ordersSize;
  if (header_->magic != mailboxMagic || header_->version != mailboxVersion ||
      header_->ordersCapacity != layout.ordersCapacity || header_->ringCapacity != layout.ringCapacity ||
      ordersSize > layout.ordersCapacity) {
    throw Error(ExitCode::infrastructure, "mailbox-invalid",
                text("magic ", hex(header_->magic), ", version ", header_->version, ", orders ", ordersSize,
                     " of ", header_->ordersCapacity, " bytes, ring ", header_->ringCapacity,
                     " bytes in a mailbox of ", memory.size()),
                "host and guest tools must be of one build; check the address given to the guest");
  }
  orders_ = memory.subspan(mailboxOrdersOffset, ordersSize);
  ring_ = memory.subspan(layout.ringOffset, layout.ringCapacity);
  head_ = header_->head.load(std::memory_order_relaxed);
}

std::vector<std::byte> GuestMailbox::orders() const {
  return {orders_.begin(), orders_.end()};
}

bool GuestMailbox::fits(size_t length) const {
  const uint64_t used = head_ - header_->tail.load(std::memory_order_acquire);
  return length > 0 && length <= ring_.size() && used <= ring_.size() &&
         recordSize(length) <= ring_.size() - used;
}

bool GuestMailbox::post(std::span<const std::byte> payload) {
  if (!fits(payload.size())) {
    header_->dropped.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  const RecordHeader record{static_cast<uint32_t>(payload.size()), crc32(payload)};
  writeRing(ring_, head_, std::as_bytes(std::span(&record, 1)));
  writeRing(ring_, head_ + sizeof record, payload);
  head_ += recordSize(payload.size());
  header_->head.store(head_, std::memory_order_release);
  return true;
}

uint64_t GuestMailbox::consumed() const {
  return header_->tail.load(std::memory_order_acquire);
}

uint32_t GuestMailbox::letGo() const {
  return header_->letGo.load(std::memory_order_acquire);
}

bool GuestMailbox::stopRequested() const {
  return header_->stopRequested.load(std::memory_order_acquire) != 0;
}

uint32_t GuestMailbox::statsRequested() const {
  return header_->statsRequests.load(std::memory_order_acquire);
}

uint64_t GuestMailbox::dropped() const {
  return header_->dropped.load(std::memory_order_relaxed);
}

uint32_t crc32(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace ktstr
