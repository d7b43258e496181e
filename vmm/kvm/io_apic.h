// The I/O APIC of a machine with APIC ids beyond 254, which KVM's own does not reach: its registers are here,
// and KVM (with a split irqchip) is told what message (MSI) each of its lines sends. Registers as in the
// 82093AA data sheet, but that ids read as 0; destinations of 15 bits as for KVM_FEATURE_MSI_EXT_DEST_ID, as
// Linux writes them (arch/x86/include/asm/io_apic.h, struct IO_APIC_route_entry). Lines are edges: of a
// level-triggered one no end of interrupt is heard. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>

#include "vmm/kvm/ioctl.h"

namespace ktstr::vmm {

class IoApic {
 public:
  static constexpr uint64_t kGpa = 0xfec00000, kSize = 0x1000;

  // `vm`: the VM's descriptor.
  explicit IoApic(int vm);

  // 32 bits at an offset from kGpa.
  uint32_t read(uint64_t offset);
  // Throws Error "kvm-failed" if KVM does not take the message that a line is to send.
  void write(uint64_t offset, uint32_t value);

  // What lines with these redirection entries send. A masked one sends nothing.
  static GsiRoutes routesOf(std::span<const uint64_t, kIoApicLines> entries);

 private:
  uint64_t* selectedEntry();

  const int vm_;
  std::mutex mutex_;
  uint8_t selected_ = 0;  // register
  std::array<uint64_t, kIoApicLines> entries_;
};

}  // namespace ktstr::vmm
