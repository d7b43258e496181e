// Where everything lies in guest-physical memory: RAM, base, mailbox, NUMA nodes, the e820 map.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/boot/machine.h"
#include "guest/topology.h"

namespace ktstr {

// Fixed low memory, all identity mapped at entry.
inline constexpr uint64_t stackTop = 0x6ff0;
inline constexpr uint64_t bootParamsGpa = 0x7000;
inline constexpr uint64_t commandLineGpa = 0x8000;
inline constexpr size_t commandLineMax = 2047;  // COMMAND_LINE_SIZE - 1
inline constexpr uint64_t pageTablesGpa = 0x9000;
inline constexpr uint64_t gdtGpa = 0xf000;
inline constexpr uint64_t acpiGpa = 0x40000;
inline constexpr uint64_t acpiEnd = 0x9f000;
inline constexpr uint64_t kernelFloor = 0x100000;  // nothing of the kernel lies below

inline constexpr uint64_t kib = 1024;
inline constexpr uint64_t mib = 1024 * kib;
inline constexpr uint64_t gib = 1024 * mib;
inline constexpr uint64_t lowRamEnd = 2 * gib;  // RAM below the hole, as QEMU's max-ram-below-4g=2G
inline constexpr uint64_t highRamStart = 4 * gib;
inline constexpr uint64_t memoryUnit = 2 * mib;  // of RAM and of NUMA nodes
inline constexpr uint64_t leastMemory = 256 * mib;
inline constexpr uint64_t regionUnit = 64 * kib;  // of base and mailbox
inline constexpr uint64_t suffixBytes = 4096;     // at the end of RAM

// Guest-physical address of a linear memory offset.
constexpr uint64_t gpaOf(uint64_t offset) {
  return offset < lowRamEnd ? offset : offset - lowRamEnd + highRamStart;
}

// The other way round; only for a GPA that is one of memory.
constexpr uint64_t offsetOf(uint64_t gpa) {
  return gpa < lowRamEnd ? gpa : gpa - highRamStart + lowRamEnd;
}

struct Range {
  uint64_t gpa;
  uint64_t size;
  bool operator==(const Range&) const = default;
};

struct NodeRange {
  uint32_t node;
  Range range;
};

// Boot protocol e820 types.
enum class E820Type : uint32_t { ram = 1, reserved = 2, acpi = 3, nvs = 4 };
struct E820Entry {
  Range range;
  E820Type type;
};

struct MemoryPlan {
  uint64_t ramBytes;            // after rounding and raising
  std::vector<Region> regions;  // ram (one or two), base, mailbox
  Range initrd;                 // suffix page and base archive
  Range mailbox;
};

// Throws Error "memory-too-small", "boot-request-invalid".
MemoryPlan planMemory(uint64_t memoryBytes, uint64_t baseBytes, uint64_t baseLength, uint64_t mailboxBytes);

// RAM of each node in ascending order, in units of 2 MiB: what is declared, or equal parts. The last node
// also takes the remainder, base and mailbox. A node across the hole has two pieces.
std::vector<NodeRange> splitOverNodes(const MemoryPlan& plan, const Topology& topology);

// `acpiTablesSize` bytes of tables from acpiGpa, the first page of which is firmware's (ACPI NVS).
std::vector<E820Entry> e820Map(const MemoryPlan& plan, uint64_t acpiTablesSize);

}  // namespace ktstr
