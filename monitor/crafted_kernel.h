// For tests: a guest's memory made by hand, without a kernel to be found in it. Everything is reached through
// the direct map and the image map; a layout is given as text.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"

namespace ktstr::test {

class CraftedKernel {
 public:
  static constexpr uint64_t directMap = 0xffff'8880'0000'0000;

  // `symbols`: names and guest-physical addresses. `tables`: where the page tables of four levels begin.
  explicit CraftedKernel(size_t ramBytes, const std::map<std::string, uint64_t>& symbols = {},
                         uint64_t tables = 0)
      : ram_(ramBytes), memory_({{0, ramBytes, ram_.data()}}) {
    std::multimap<uint64_t, std::string> sorted;
    for (const auto& [name, gpa] : symbols) sorted.emplace(gpa, name);
    for (const auto& [gpa, name] : sorted) {
      storage_.addresses.push_back(kernelMapBase + gpa);
      storage_.nameOffsets.push_back(static_cast<uint32_t>(storage_.names.size()));
      storage_.types.push_back('D');
      storage_.names.insert(storage_.names.end(), name.begin(), name.end());
    }
    storage_.nameOffsets.push_back(static_cast<uint32_t>(storage_.names.size()));
    storage_.index();
    symbols_ = SymbolTable(storage_.arrays());
    KernelPlace place{};
    place.tables.root = tables;
    kernel_.emplace(memory_, symbols_, place);
  }

  template <typename T>
  void put(uint64_t gpa, T value) {
    std::memcpy(ram_.data() + gpa, &value, sizeof value);
  }
  void putBytes(uint64_t gpa, std::string_view bytes) {
    std::memcpy(ram_.data() + gpa, bytes.data(), bytes.size());
  }
  // Writes pointers to other places of the direct map.
  void point(uint64_t gpa, uint64_t to) { put<uint64_t>(gpa, va(to)); }
  // For fuzzers: all RAM from at least two bytes of input. Two of them make a word, an address in the direct
  // map or a small number.
  void fill(std::span<const uint8_t> input) {
    for (size_t word = 0; word < ram_.size() / 8; ++word) {
      const size_t at = word * 2 % (input.size() - 1);
      const uint64_t value = input[at] | uint64_t{input[at + 1]} << 8;
      put<uint64_t>(word * 8, input[at] & 4 ? value : va(value));
    }
  }
  static uint64_t va(uint64_t gpa) { return directMap + gpa; }

  const GuestKernel& kernel() const { return *kernel_; }
  const GuestMem& memory() const { return memory_; }
  const SymbolTable& symbols() const { return symbols_; }
  std::vector<std::byte>& ram() { return ram_; }

 private:
  std::vector<std::byte> ram_;
  GuestMem memory_;
  SymbolStorage storage_;
  SymbolTable symbols_;
  std::optional<GuestKernel> kernel_;
};

// Offsets as in many kernels.
inline constexpr const char* walkLayout =
    "member idr.idr_base 16 4\nmember idr.idr_rt 0 16\nmember xarray.xa_head 8 8\nmember xa_node.shift 0 1\n"
    "member xa_node.slots 40 512\nmember rb_node.rb_left 16 8\nmember rb_node.rb_right 8 8\n";

}  // namespace ktstr::test
