#include "monitor/page_walk.h"

namespace ktstr {
namespace {

constexpr uint64_t present = 1, hugePage = uint64_t{1} << 7;
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
    if (!entry || !(*entry & present)) return std::nullopt;
    if (level == 1 || (level <= 3 && (*entry & hugePage))) {
      const uint64_t inPage = (uint64_t{1} << shift) - 1;
      return (*entry & addressMask & ~inPage) | (va & inPage);
    }
    table = *entry & addressMask;
  }
  return std::nullopt;
}

}  // namespace ktstr
