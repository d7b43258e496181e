#include "vmm/kvm/ports.h"

#include <algorithm>
#include <cstring>

#include "protocol/text.h"

namespace ktstr::vmm {

SerialPort* Ports::serialAt(uint16_t port) {
  if ((port & ~7) == kConsolePort) return &console_;
  if ((port & ~7) == kDoorbellPort) return &doorbell_;
  return nullptr;
}

PortEffect Ports::write(uint16_t port, std::span<const uint8_t> bytes) {
  if (SerialPort* serial = serialAt(port); serial != nullptr && bytes.size() == 1) {
    serial->write(port & 7, bytes[0]);
  } else if (port == kKeyboardCommand && bytes.size() == 1) {
    if (bytes[0] == 0xfe) return PortEffect::reset;
  } else if (port == kPowerOffPort && bytes.size() == 2) {
    if ((bytes[1] & 0x20) != 0) return PortEffect::powerOff;
  } else {
    unknownPort(port);
  }
  return PortEffect::none;
}

void Ports::read(uint16_t port, std::span<uint8_t> bytes) {
  if (SerialPort* serial = serialAt(port); serial != nullptr && bytes.size() == 1) {
    bytes[0] = serial->read(port & 7);
  } else if (port == kKeyboardCommand && bytes.size() == 1) {
    bytes[0] = 0;
  } else {
    std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
    unknownPort(port);
  }
}

void Ports::unknownPort(uint16_t port) {
  ++portAccesses_;
  lastPort_ = port;
}

void Ports::memory(uint64_t gpa, std::span<uint8_t> bytes, bool write) {
  uint32_t value = 0;
  const uint64_t offset = gpa - IoApic::kGpa;  // wraps below it
  if (!ioApic_ || offset >= IoApic::kSize || bytes.size() != sizeof value) {
    ++memoryAccesses_;
    lastGpa_ = gpa;
    if (!write) std::fill(bytes.begin(), bytes.end(), uint8_t{0xff});
  } else if (write) {
    memcpy(&value, bytes.data(), sizeof value);
    ioApic_->write(offset, value);
  } else {
    value = ioApic_->read(offset);
    memcpy(bytes.data(), &value, sizeof value);
  }
}

std::string Ports::describeUnknown() const {
  std::string all;
  if (portAccesses_ > 0)
    all = text(portAccesses_.load(), " accesses to ports without a device (last ", hex(lastPort_), ")");
  if (memoryAccesses_ > 0)
    all += text(all.empty() ? "" : ", ", memoryAccesses_.load(),
                " to memory that is not there or read-only (last ", hex(lastGpa_), ")");
  return all;
}

}  // namespace ktstr::vmm
