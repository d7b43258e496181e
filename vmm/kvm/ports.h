// What the guest finds behind I/O ports and at addresses without memory: two serial ports, a keyboard
// controller that resets, a power-off port, with APIC ids above 254 an I/O APIC, and nothing else.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "vmm/kvm/io_apic.h"
#include "vmm/kvm/serial_port.h"

namespace ktstr::vmm {

constexpr uint16_t kConsolePort = 0x3f8, kDoorbellPort = 0x2f8;
constexpr unsigned kConsoleGsi = 4, kDoorbellGsi = 3;
constexpr uint16_t kKeyboardCommand = 0x64;  // read: nothing in its buffers; write 0xfe: reset
constexpr uint16_t kPowerOffPort = 0x604;    // PM1a_CNT: SLP_EN (bit 13) with any type

enum class PortEffect { none, reset, powerOff };

class Ports {
 public:
  Ports(SerialPort& console, SerialPort& doorbell) : console_(console), doorbell_(doorbell) {}

  // One access of 1, 2 or 4 bytes. What is not there reads as ones and is counted.
  PortEffect write(uint16_t port, std::span<const uint8_t> bytes);
  void read(uint16_t port, std::span<uint8_t> bytes);

  // Before any access.
  void addIoApic(int vm) { ioApic_.emplace(vm); }
  // One access of 1 to 8 bytes to guest-physical memory that no slot backs.
  void memory(uint64_t gpa, std::span<uint8_t> bytes, bool write);

  // "3 accesses to unknown ports (last 0x70), ..." or "" if there were none.
  std::string describeUnknown() const;

 private:
  SerialPort* serialAt(uint16_t port);
  void unknownPort(uint16_t port);

  SerialPort& console_;
  SerialPort& doorbell_;
  std::optional<IoApic> ioApic_;
  std::atomic<uint64_t> portAccesses_ = 0, memoryAccesses_ = 0, lastGpa_ = 0;
  std::atomic<uint16_t> lastPort_ = 0;
};

}  // namespace ktstr::vmm
