// A 16550A without its line: registers, receive FIFO and interrupt logic. No I/O, no time: what is sent is
// gone at once. Registers as in the PC16550D data sheet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ktstr::vmm {

class Uart {
 public:
  static constexpr unsigned kFifo = 16;

  // `offset` is 0..7.
  uint8_t read(unsigned offset);
  // Returns the byte that goes out on the line, if one does.
  std::optional<uint8_t> write(unsigned offset, uint8_t value);

  bool canReceive() const { return received_ < kFifo; }
  // Only if canReceive().
  void receive(uint8_t byte);

  // While the line takes no more, the transmitter does not say that it is empty.
  void setLineBusy(bool busy);

  // Level of the interrupt line.
  bool interrupt() const { return identify() != 1; }

 private:
  uint8_t identify() const;  // IIR bits 3:0; 1 = none pending
  uint8_t modemStatus() const;
  uint8_t lineStatus() const;

  bool divisorAccess() const { return (kept_[kLineControl] & 0x80) != 0; }
  bool loopback() const { return (kept_[kModemControl] & 0x10) != 0; }

  static constexpr unsigned kInterruptEnable = 1, kFifoControl = 2, kLineControl = 3, kModemControl = 4;
  std::array<uint8_t, 8> kept_{};  // registers as last written, by offset
  std::array<uint8_t, 2> divisor_{};
  std::array<uint8_t, kFifo> fifo_{};
  unsigned first_ = 0, received_ = 0;
  bool emptyPending_ = false;  // the interrupt for an empty transmitter, until IIR is read
  bool lineBusy_ = false;
};

}  // namespace ktstr::vmm
