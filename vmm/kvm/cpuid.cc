#include "vmm/kvm/cpuid.h"

#include <algorithm>

namespace ktstr::vmm {
namespace {

// EAX[4:0] of leaf 0xB: by how many bits an APIC id is shifted to get the id of the next level.
unsigned levelShift(const std::vector<CpuidEntry>& table, uint32_t level) {
  const auto entry = std::find_if(table.begin(), table.end(), [level](const CpuidEntry& e) {
    return e.function == 0xb && e.index == level;
  });
  return entry == table.end() ? 0 : entry->eax & 0x1f;
}

constexpr uint32_t withLowByte(uint32_t value, uint32_t byte) {
  return (value & ~0xffu) | (byte & 0xff);
}

}  // namespace

std::vector<CpuidEntry> cpuidOf(std::vector<CpuidEntry> table, uint32_t apicId) {
  const unsigned coreShift = levelShift(table, 0), packageShift = levelShift(table, 1);
  const uint32_t inPackage = apicId & ((uint32_t{1} << packageShift) - 1);
  for (CpuidEntry& entry : table) {
    switch (entry.function) {
      case 1:
        entry.ebx = (entry.ebx & 0xffffff) | apicId << 24;
        break;
      case 0xb:
      case 0x1f:
      case 0x80000026:
        entry.edx = apicId;
        break;
      case 0x8000001e:
        entry.eax = apicId;
        entry.ebx = withLowByte(entry.ebx, inPackage >> coreShift);
        entry.ecx = withLowByte(entry.ecx, apicId >> packageShift);
        break;
      default:
        break;
    }
  }
  return table;
}

}  // namespace ktstr::vmm
