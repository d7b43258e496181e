// Memory objects of others and guest RAM as the VMM sees it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "vmm/machine_check.h"

namespace ktstr::vmm {

// Throws Error "memory-invalid" if `fd` is no regular file (memfds are).
MemoryFacts memoryFacts(int fd);

// Further writable mappings and every change of size fail from now on, for every holder of the memfd;
// mappings that exist keep their access. Throws Error "seal-failed".
void sealRam(int fd);
// The size is final; writable mappings stay possible: the mailbox is for both sides. Throws Error
// "seal-failed".
void sealMailbox(int fd);

struct GpaSpan {
  uint64_t gpa, size;
};
std::string describe(GpaSpan span);  // "8 bytes at 0x1000"

constexpr uint64_t kMaxGateWrite = 65536;  // bytes of one WriteGate.write()
constexpr size_t kMaxGateRanges = 1024;

// All guest RAM, mapped shared and writable; map it before sealing.
class GuestRam {
 public:
  // Throws Error "map-failed".
  GuestRam(int ram, std::vector<Region> regions);

  // True if the span is not empty and lies within one RAM region.
  bool contains(GpaSpan span) const;
  // Throws Error "gate-range-invalid" naming the range if one is not in RAM or there are too many.
  void checkRanges(std::span<const GpaSpan> ranges) const;
  // Writes all of `bytes`. Throws Error "gate-refused" naming the address, and changes nothing, unless they
  // lie within one of `granted` and are at most kMaxGateWrite.
  void write(uint64_t gpa, std::span<const std::byte> bytes, std::span<const GpaSpan> granted);

  std::byte* data() { return mapping_.data(); }  // linear: byte 0 of the RAM object first
  const std::vector<Region>& regions() const { return regions_; }

 private:
  std::vector<Region> regions_;
  Mapping mapping_;
};

}  // namespace ktstr::vmm
