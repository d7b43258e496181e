// The memory of a BPF arena by the addresses that its program's pointers have, from a copy of its pages.
#pragma once

#include <span>
#include <unordered_map>

#include "monitor/bpf_values.h"

namespace ktstr {

class ArenaView {
 public:
  // `start`: arenaStart() of the map. `pages`: its entries, which must outlive this object.
  ArenaView(uint64_t start, const std::vector<MapEntry>& pages);

  // An arena has 4 GiB of addresses, most of them without a page.
  bool holds(uint64_t address) const { return address - start_ < uint64_t{1} << 32; }
  // False if a page of [address, address + out.size()) is not there.
  bool copy(uint64_t address, std::span<std::byte> out) const;

 private:
  uint64_t start_;
  std::unordered_map<uint64_t, std::span<const std::byte>> pages_;  // by number
};

}  // namespace ktstr
