#include "vmm/kvm/uart.h"

namespace ktstr::vmm {
namespace {

constexpr uint8_t kEnableReceived = 1, kEnableEmpty = 2;
constexpr uint8_t kNone = 1, kReceived = 4, kEmpty = 2;  // IIR
constexpr uint8_t kDataReady = 0x01, kTransmitterEmpty = 0x60;
constexpr uint8_t kModemPresent = 0xb0;  // DCD, DSR, CTS

}  // namespace

uint8_t Uart::identify() const {
  if ((interruptEnable_ & kEnableReceived) != 0 && received_ > 0) return kReceived;
  if ((interruptEnable_ & kEnableEmpty) != 0 && emptyPending_) return kEmpty;
  return kNone;
}

uint8_t Uart::lineStatus() const {
  return static_cast<uint8_t>((received_ > 0 ? kDataReady : 0) | (lineBusy_ ? 0 : kTransmitterEmpty));
}

// In loopback the modem control outputs come back: DTR as DSR, RTS as CTS, OUT1 as RI, OUT2 as DCD.
uint8_t Uart::modemStatus() const {
  if (!loopback()) return kModemPresent;
  const unsigned out = modemControl_;
  return static_cast<uint8_t>((out & 2) << 3 | (out & 1) << 5 | (out & 4) << 4 | (out & 8) << 4);
}

uint8_t Uart::read(unsigned offset) {
  switch (offset) {
    case 0: {
      if (divisorAccess()) return divisor_[0];
      if (received_ == 0) return 0;
      const uint8_t byte = fifo_[first_];
      first_ = (first_ + 1) % kFifo;
      --received_;
      return byte;
    }
    case 1:
      return divisorAccess() ? divisor_[1] : interruptEnable_;
    case 2: {
      const uint8_t reason = identify();
      if (reason == kEmpty) emptyPending_ = false;
      return static_cast<uint8_t>(reason | ((fifoControl_ & 1) != 0 ? 0xc0 : 0));
    }
    case 3:
      return lineControl_;
    case 4:
      return modemControl_;
    case 5:
      return lineStatus();
    case 6:
      return modemStatus();
    default:
      return scratch_;
  }
}

std::optional<uint8_t> Uart::write(unsigned offset, uint8_t value) {
  switch (offset) {
    case 0:
      if (divisorAccess()) {
        divisor_[0] = value;
        return std::nullopt;
      }
      emptyPending_ = !lineBusy_;
      if (!loopback()) return value;
      if (canReceive()) receive(value);
      return std::nullopt;
    case 1:
      if (divisorAccess()) {
        divisor_[1] = value;
      } else {
        // Enabling the interrupt while the transmitter is empty raises it.
        if ((value & ~interruptEnable_ & kEnableEmpty) != 0 && !lineBusy_) emptyPending_ = true;
        interruptEnable_ = value & 0x0f;
      }
      return std::nullopt;
    case 2:
      fifoControl_ = value;
      if ((value & 2) != 0) received_ = 0;
      return std::nullopt;
    case 3:
      lineControl_ = value;
      return std::nullopt;
    case 4:
      modemControl_ = value & 0x1f;
      return std::nullopt;
    case 7:
      scratch_ = value;
      return std::nullopt;
    default:
      return std::nullopt;
  }
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
