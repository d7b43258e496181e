#include "monitor/symbol_table.h"

#include <algorithm>
#include <bit>

namespace ktstr {
namespace {

constexpr size_t maxProbes = 512;

uint64_t hashName(std::string_view name) {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3;
  return hash ^ (hash >> 32);
}

}  // namespace

bool SymbolStorage::index() {
  const size_t size = std::bit_ceil(addresses.size() + addresses.size() / 2 + 1);
  slots.assign(size, 0);
  const SymbolTable table(arrays());
  for (size_t i = 0; i < addresses.size(); ++i) {
    const auto name = table.name(i);
    size_t at = hashName(name) & (size - 1);
    size_t probes = 0;
    while (slots[at] != 0 && table.name(slots[at] - 1) != name) {
      at = (at + 1) & (size - 1);
      if (++probes > maxProbes) return false;
    }
    if (slots[at] == 0) slots[at] = static_cast<uint32_t>(i + 1);
  }
  return true;
}

SymbolArrays SymbolStorage::arrays() const {
  return {addresses, nameOffsets, types, slots, std::string_view(names.data(), names.size())};
}

SymbolTable::SymbolTable(SymbolArrays arrays) : arrays_(arrays) {
  const size_t count = arrays.addresses.size();
  if (arrays.nameOffsets.size() != count + 1 || arrays.types.size() != count ||
      !std::has_single_bit(arrays.slots.size())) {
    arrays_ = {};
  }
}

std::optional<uint64_t> SymbolTable::find(std::string_view wanted) const {
  if (arrays_.slots.empty()) return std::nullopt;
  const size_t mask = arrays_.slots.size() - 1;
  size_t at = hashName(wanted) & mask;
  for (size_t probe = 0; probe <= maxProbes; ++probe, at = (at + 1) & mask) {
    const uint32_t slot = arrays_.slots[at];
    if (slot == 0 || slot > size()) return std::nullopt;
    if (name(slot - 1) == wanted) return arrays_.addresses[slot - 1];
  }
  return std::nullopt;
}

std::optional<SymbolTable::Nearest> SymbolTable::nearest(uint64_t wanted) const {
  const auto after = std::upper_bound(arrays_.addresses.begin(), arrays_.addresses.end(), wanted);
  if (after == arrays_.addresses.begin()) return std::nullopt;
  const auto index = static_cast<size_t>(after - arrays_.addresses.begin()) - 1;
  return Nearest{name(index), wanted - arrays_.addresses[index]};
}

std::string_view SymbolTable::name(size_t index) const {
  const uint32_t begin = arrays_.nameOffsets[index], end = arrays_.nameOffsets[index + 1];
  if (begin > end || end > arrays_.names.size()) return {};
  return arrays_.names.substr(begin, end - begin);
}

}  // namespace ktstr
