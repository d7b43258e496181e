#include "monitor/page_walk.h"

namespace ktstr {
namespace {

constexpr uint64_t presentBit = 1, hugePage = uint64_t{1} << 7;
constexpr uint64_t tableBytes = 4096;
constexpr uint64_t addressMask = 0x000f'ffff'ffff'f000;

}  // namespace

bool isCanonical(uint64_t va, unsigned levels) {
  const unsigned bits = 12 + 9 * levels;
  const auto top = static_cast<int64_t>(va) >> (bits - 1);
  return top == 0 || top == -1;
}

std::optional<uint64_t> walkPages(const GuestMem& memory, const PageTables& tables, uint64_t va) {
  if (tables.translation == Translation::arm64) return walkPagesArm64(memory, tables, va);
  if ((tables.levels != 4 && tables.levels != 5) || !isCanonical(va, tables.levels)) return std::nullopt;
  uint64_t table = tables.root & addressMask;
  for (unsigned level = tables.levels; level >= 1; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const auto entry = memory.read<uint64_t>(table + ((va >> shift) & 511) * 8);
    if (!entry || !(*entry & presentBit)) return std::nullopt;
    if (level == 1 || (level <= 3 && (*entry & hugePage))) {
      const uint64_t inPage = (uint64_t{1} << shift) - 1;
      return (*entry & addressMask & ~inPage) | (va & inPage);
    }
    table = *entry & addressMask;
  }
  return std::nullopt;
}

std::optional<uint64_t> nextMapped(const GuestMem& memory, const PageTables& tables, uint64_t va,
                                   uint64_t end) {
  while (va < end && (tables.levels == 4 || tables.levels == 5) && isCanonical(va, tables.levels)) {
    uint64_t table = tables.root & addressMask;
    for (unsigned level = tables.levels; level >= 1; --level) {
      const uint64_t page = uint64_t{1} << (12 + 9 * (level - 1));
      const auto entries = memory.bytes(table, tableBytes);
      uint64_t index = va / page % 512, entry = 0;
      const auto present = [&] {
        entry = entries ? loadGuest<uint64_t>(entries->data() + 8 * index) : 0;
        return (entry & presentBit) != 0;
      };
      for (; index < 512 && va < end && !present(); ++index) va = (va / page + 1) * page;
      if (va == 0 || va >= end || index == 512) break;
      if (level == 1 || (level <= 3 && (entry & hugePage))) return va;
      table = entry & addressMask;
    }
    if (va == 0) break;
  }
  return std::nullopt;
}

}  // namespace ktstr
