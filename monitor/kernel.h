// A running kernel in guest memory: its symbols, its address space, its per-CPU data.
//
// Nothing here believes the guest: every address is translated and bounds-checked, what cannot be read is
// nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "monitor/finder.h"

namespace ktstr {

inline constexpr uint32_t maxGuestCpus = 8192;  // largest CONFIG_NR_CPUS of x86-64

class GuestKernel {
 public:
  // Both must outlive this object.
  GuestKernel(const GuestMem& memory, const SymbolTable& symbols, const KernelPlace& place);

  // Run-time address of a symbol.
  std::optional<uint64_t> symbol(std::string_view name) const;

  // The symbol at or before a run-time address in the kernel image: "name+0x12", or "name".
  std::optional<std::string> symbolAt(uint64_t va) const;

  // GPA of a kernel address: through the image map, the direct map, or else the page tables.
  std::optional<uint64_t> translate(uint64_t va) const;

  // The first address from `va` up to `end` that the page tables map.
  std::optional<uint64_t> nextMapped(uint64_t va, uint64_t end) const {
    return ktstr::nextMapped(memory_, place_.tables, va, end);
  }

  template <typename T>
  std::optional<T> read(uint64_t va) const {
    const auto* const from = at(va, sizeof(T));
    return from ? std::optional(loadGuest<T>(from)) : std::nullopt;
  }
  template <typename T>
  std::optional<T> readSymbol(std::string_view name) const {
    const auto va = symbol(name);
    return va ? read<T>(*va) : std::nullopt;
  }
  // Copies across pages. False if any byte is not mapped to RAM.
  bool copy(uint64_t va, std::span<std::byte> out) const;
  // A NUL-terminated string of at most `limit` bytes; nothing if unreadable or longer.
  std::optional<std::string> string(uint64_t va, size_t limit) const;

  // Where [va, va+size) is on the host, if it is contiguous there; nullptr if not. Valid as long as the
  // memory, and the same kernel object as long as the guest does not map something else at va.
  const std::byte* at(uint64_t va, uint64_t size) const;

  // Address of a CPU's copy of a per-CPU variable (setup_per_cpu_areas). Nothing if the CPU has none (yet).
  std::optional<uint64_t> perCpu(uint64_t variable, uint32_t cpu) const;

  // Numbers of the CPUs in __cpu_possible_mask below nr_cpu_ids; empty if the symbols are missing.
  std::vector<uint32_t> possibleCpus() const;

  const KernelPlace& place() const { return place_; }
  // Base of the direct map of all RAM: page_offset_base, else the architecture's default.
  uint64_t pageOffset() const { return pageOffset_; }

 private:
  const GuestMem& memory_;
  const SymbolTable& symbols_;
  KernelPlace place_;
  uint64_t pageOffset_;
  std::optional<uint64_t> perCpuOffsets_;  // __per_cpu_offset
};

}  // namespace ktstr
