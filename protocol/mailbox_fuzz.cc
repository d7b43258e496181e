// A mailbox of arbitrary bytes: reading either side ends, with an Error at worst.
#include <algorithm>
#include <cstring>
#include <vector>

#include "protocol/error.h"
#include "protocol/mailbox.h"

namespace {

constexpr size_t size = 64 * 1024;

void drain(std::span<std::byte> memory, std::span<const std::byte> wild) {
  ktstr::HostMailbox host(memory, {});
  std::copy(wild.begin(), wild.end(),
            memory.begin() + static_cast<ptrdiff_t>(ktstr::mailboxLayout(size).ringOffset));
  auto& header = *reinterpret_cast<ktstr::MailboxHeader*>(memory.data());
  uint64_t head = wild.size() & ~size_t{7};
  if (wild.size() >= 8) memcpy(&head, wild.last(8).data(), 8);
  header.head = head % 4 == 0 ? wild.size() & ~size_t{7} : head;  // mostly plausible
  while (host.next()) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  alignas(4096) static std::byte memory[size];
  const auto wild = std::as_bytes(std::span(data, std::min(length, size / 2)));
  std::fill(std::begin(memory), std::end(memory), std::byte{0});
  try {
    drain(memory, wild);
  } catch (const ktstr::Error&) {
  }
  try {
    std::copy_n(wild.begin(), std::min(wild.size(), sizeof(ktstr::MailboxHeader)), memory);
    ktstr::GuestMailbox guest(memory);
    guest.orders();
    guest.post(wild);
    guest.post(wild);
  } catch (const ktstr::Error&) {
  }
  return 0;
}
