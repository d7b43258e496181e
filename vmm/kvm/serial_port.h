// A serial port of the guest on a stream socket. Thread-safe: vCPU threads use its registers, the event loop
// pumps.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "protocol/fd.h"
#include "vmm/kvm/uart.h"

namespace ktstr::vmm {

class SerialPort {
 public:
  // `line` is our end of a socket pair, non-blocking; a byte count written to `interrupt` (an eventfd that
  // KVM listens to) pulses the interrupt line. Both outlive the port.
  SerialPort(int line, int interrupt) : line_(line), interrupt_(interrupt) {}

  uint8_t read(unsigned offset);
  void write(unsigned offset, uint8_t value);

  // Moves what waits: from the guest to the socket, and from there to the guest's FIFO. To be called when the
  // socket becomes readable or writable.
  void pump();

 private:
  void flush();
  void fill();
  void signal();

  std::mutex mutex_;
  Uart uart_;
  int line_, interrupt_;
  std::optional<uint8_t> unsent_;  // the line takes no more: the guest is told that the transmitter is busy
  bool waiting_ = false;           // the FIFO was full when there was more to receive
  bool asserted_ = false;          // the interrupt line's level as last seen
};

}  // namespace ktstr::vmm
