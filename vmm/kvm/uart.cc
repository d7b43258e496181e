#include "vmm/kvm/uart.h"

namespace ktstr::vmm {
namespace {

constexpr unsigned kIdentification = 2, kLineStatus = 5, kModemStatus = 6;  // read only
constexpr uint8_t kBits[] = {0, 0x0f, 0xff, 0xff, 0x1f, 0, 0, 0xff};        // those that can be written
constexpr uint8_t kEnableReceived = 1, kEnableEmpty = 2;
constexpr uint8_t kNone = 1, kReceived = 4, kEmpty = 2;  // IIR
constexpr uint8_t kDataReady = 0x01, kTransmitterEmpty = 0x60;
constexpr uint8_t kModemPresent = 0xb0;  // DCD, DSR, CTS

}  // namespace

uint8_t Uart::identify() const {
  if ((kept_[kInterruptEnable] & kEnableReceived) != 0 && received_ > 0) return kReceived;
  if ((kept_[kInterruptEnable] & kEnableEmpty) != 0 && emptyPending_) return kEmpty;
  return kNone;
}

uint8_t Uart::lineStatus() const {
  return static_cast<uint8_t>((received_ > 0 ? kDataReady : 0) | (lineBusy_ ? 0 : kTransmitterEmpty));
}

// In loopback the modem control outputs come back: DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD.
uint8_t Uart::modemStatus() const {
  if (!loopback()) return kModemPresent;
  const unsigned out = kept_[kModemControl];
  return static_cast<uint8_t>((out & 2) << 3 | (out & 1) << 5 | (out & 4) << 4 | (out & 8) << 4);
}

uint8_t Uart::read(unsigned offset) {
  if (divisorAccess() && offset < 2) return divisor_[offset];
  switch (offset) {
    case 0: {
      if (received_ == 0) return 0;
      const uint8_t byte = fifo_[first_];
      first_ = (first_ + 1) % kFifo;
      --received_;
      return byte;
    }
    case kIdentification: {
      const uint8_t reason = identify();
      if (reason == kEmpty) emptyPending_ = false;
      return static_cast<uint8_t>(reason | ((kept_[kFifoControl] & 1) != 0 ? 0xc0 : 0));
    }
    case kLineStatus:
      return lineStatus();
    case kModemStatus:
      return modemStatus();
    default:
      return kept_[offset];
  }
}

std::optional<uint8_t> Uart::write(unsigned offset, uint8_t value) {
  if (divisorAccess() && offset < 2) {
    divisor_[offset] = value;
    return std::nullopt;
  }
  if (offset == 0) {
    emptyPending_ = !lineBusy_;
    if (!loopback()) return value;
    if (canReceive()) receive(value);
    return std::nullopt;
  }
  // Enabling the interrupt while the transmitter is empty raises it.
  if (offset == kInterruptEnable && (value & ~kept_[offset] & kEnableEmpty) != 0 && !lineBusy_)
    emptyPending_ = true;
  if (offset == kFifoControl && (value & 2) != 0) received_ = 0;
  kept_[offset] = value & kBits[offset];
  return std::nullopt;
}

void Uart::receive(uint8_t byte) {
  fifo_[(first_ + received_) % kFifo] = byte;
  ++received_;
}

void Uart::setLineBusy(bool busy) {
  if (busy != lineBusy_) emptyPending_ = !busy;
  lineBusy_ = busy;
}

}  // namespace ktstr::vmm
