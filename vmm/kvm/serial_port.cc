#include "vmm/kvm/serial_port.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace ktstr::vmm {

uint8_t SerialPort::read(unsigned offset) {
  const std::lock_guard lock(mutex_);
  if (unsent_) flush();
  const uint8_t value = uart_.read(offset);
  signal();
  return value;
}

void SerialPort::write(unsigned offset, uint8_t value) {
  const std::lock_guard lock(mutex_);
  if (const auto byte = uart_.write(offset, value)) {
    // A guest that sends although the transmitter is busy overwrites what waits there.
    unsent_ = *byte;
    flush();
  }
  signal();
}

void SerialPort::pump() {
  const std::lock_guard lock(mutex_);
  flush();
  fill();
  signal();
}

void SerialPort::flush() {
  if (unsent_) {
    const ssize_t sent = send(line_, &*unsent_, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    // With nobody at the other end any more, bytes go nowhere, as on any serial line.
    if (sent == 1 || (errno != EAGAIN && errno != EINTR)) unsent_.reset();
  }
  uart_.setLineBusy(unsent_.has_value());
}

void SerialPort::fill() {
  char byte = 0;
  while (uart_.canReceive()) {
    if (recv(line_, &byte, 1, MSG_DONTWAIT) != 1) {
      waiting_ = false;
      return;
    }
    uart_.receive(static_cast<uint8_t>(byte));
  }
  waiting_ = true;
}

// ISA interrupts are edges: one for each time that the line rises, also if it fell only until the FIFO, which
// has room again, was refilled.
void SerialPort::signal() {
  asserted_ = asserted_ && uart_.interrupt();
  if (waiting_ && uart_.canReceive()) fill();
  const bool level = uart_.interrupt();
  if (level && !asserted_) {
    constexpr uint64_t one = 1;
    (void)!::write(interrupt_, &one, sizeof one);
  }
  asserted_ = level;
}

}  // namespace ktstr::vmm
