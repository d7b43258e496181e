#include "monitor/page_walk.h"

namespace ktstr {
namespace {

constexpr uint64_t valid = 1, tableOrPage = 2;
constexpr uint64_t addressMask = 0x0000'ffff'ffff'f000;

}  // namespace

std::optional<uint64_t> walkPagesArm64(const GuestMem& memory, const PageTables& tables, uint64_t va) {
  if (tables.levels != 3 && tables.levels != 4) return std::nullopt;
  const unsigned bits = 12 + 9 * tables.levels;
  if (va >> bits != ~uint64_t{0} >> bits) return std::nullopt;
  uint64_t table = tables.root & addressMask;
  for (unsigned level = tables.levels; level >= 1; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const auto entry = memory.read<uint64_t>(table + ((va >> shift) & 511) * 8);
    if (!entry || !(*entry & valid)) return std::nullopt;
    const bool last = !(*entry & tableOrPage);
    if (last && (level == 1 || level == 4)) return std::nullopt;  // reserved
    if (last || level == 1) {
      const uint64_t inPage = (uint64_t{1} << shift) - 1;
      return (*entry & addressMask & ~inPage) | (va & inPage);
    }
    table = *entry & addressMask;
  }
  return std::nullopt;
}

}  // namespace ktstr
