// A kernel's symbols: names to addresses and back, in flat arrays that can be stored in a file and mapped
// again.
//
// Addresses are link addresses: what the kernel would have without KASLR. Those below kernelMapBase are
// absolute values (per-CPU offsets of kernels before 6.15) and never slide.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr {

// START_KERNEL_map, arch/x86/include/asm/page_64_types.h
inline constexpr uint64_t kernelMapBase = 0xffff'ffff'8000'0000;

// The arrays behind a table. All may be foreign: SymbolTable checks every index it takes from them.
struct SymbolArrays {
  std::span<const uint64_t> addresses;    // ascending
  std::span<const uint32_t> nameOffsets;  // into names; one more than addresses
  std::span<const char> types;            // as in nm(1)
  std::span<const uint32_t> slots;  // open-addressed hash of the names: index + 1, or 0; a power of two long
  std::string_view names;           // without separators
};

// Owns such arrays while they are made.
struct SymbolStorage {
  std::vector<uint64_t> addresses;
  std::vector<uint32_t> nameOffsets;
  std::vector<char> types;
  std::vector<uint32_t> slots;
  std::vector<char> names;

  // Fills `slots`; of several symbols of one name the first counts. False if the names collide beyond all
  // measure.
  bool index();
  SymbolArrays arrays() const;
};

class SymbolTable {
 public:
  SymbolTable() = default;
  // The arrays' memory must outlive the table. They are taken as empty if their lengths do not fit together.
  explicit SymbolTable(SymbolArrays arrays);

  size_t size() const { return arrays_.addresses.size(); }
  // Link address of the first symbol of this name.
  std::optional<uint64_t> find(std::string_view name) const;

  struct Nearest {
    std::string_view name;
    uint64_t offset;  // of the address from the symbol's
  };
  // The last symbol at or before a link address.
  std::optional<Nearest> nearest(uint64_t address) const;

  std::string_view name(size_t index) const;  // empty if the arrays are damaged there
  uint64_t address(size_t index) const { return arrays_.addresses[index]; }
  const SymbolArrays& arrays() const { return arrays_; }

 private:
  SymbolArrays arrays_;
};

}  // namespace ktstr
