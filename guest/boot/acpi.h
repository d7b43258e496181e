// The ACPI tables of a machine: enough for Linux to find CPUs, NUMA nodes, interrupt overrides and the HPET
// without a complaint. ACPI 6.5 chapter and table numbers are noted at each builder.
//
// The blob starts with a page of firmware state (FACS and the PM1 event registers, which are plain memory
// here: nothing raises an SCI, so that a register which remembers what was written to it is all that Linux
// needs), then RSDP, XSDT and the tables. The PM1 control register is port 0x604 of every VMM, which powers
// the machine off when SLP_EN is written with the sleep type of S5, zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "guest/boot/memory_plan.h"
#include "guest/topology.h"

namespace ktstr {

struct AcpiTables {
  std::vector<std::byte> bytes;  // to be placed at the address given
  uint64_t rsdpGpa;
};

// What there is of a PC besides CPUs, the I/O APIC and two serial ports.
enum class Chipset {
  pc,    // QEMU's: 8259s, 8254, HPET, CMOS clock
  kvm,   // 8259s and 8254; kvm-clock in place of the rest
  none,  // what KVM has with a split irqchip; the DSDT tells the serial ports' lines, which no 8259 implies
};

// `address` is a multiple of 4096 and below 4 GiB. SRAT, SLIT and HMAT are present when there is more than
// one node.
AcpiTables buildAcpi(const Topology& topology, std::span<const NodeRange> memory, uint64_t address,
                     Chipset chipset = Chipset::pc);

// Sum of all bytes modulo 256: zero for a table with a right checksum.
uint8_t byteSum(std::span<const std::byte> bytes);

}  // namespace ktstr
