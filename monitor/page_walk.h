// Address translation as the guest's hardware does it, from page tables in guest memory: that of x86-64
// (Intel SDM vol. 3A 4.5, AMD APM vol. 2 5.3), and that of arm64 with its 4 KiB granule (Arm ARM DDI 0487,
// D8.3, without FEAT_LPA2).
#pragma once

#include <cstdint>
#include <optional>

#include "monitor/guest_mem.h"

namespace ktstr {

enum class Translation { x86_64, arm64 };

// Where the kernel's page tables are.
struct PageTables {
  uint64_t root = 0;    // GPA of the top-level table (swapper_pg_dir; on arm64 what TTBR1_EL1 leads to)
  unsigned levels = 4;  // x86-64: 4, or 5 with LA57; arm64: 4 for 48 bits, 3 for 39
  Translation translation = Translation::x86_64;
};

// True if bits above the translated ones repeat the top translated one.
bool isCanonical(uint64_t va, unsigned levels);

// GPA that va maps to through 4 KiB, 2 MiB or 1 GiB pages (arm64: in the kernel's half of the address space);
// nothing if it is not mapped, not canonical, or a table lies outside RAM. At most `levels` reads.
std::optional<uint64_t> walkPages(const GuestMem& memory, const PageTables& tables, uint64_t va);

// walkPages() of tables of arm64.
std::optional<uint64_t> walkPagesArm64(const GuestMem& memory, const PageTables& tables, uint64_t va);

// The first address from `va` up to `end` that is mapped, or nothing; x86-64's tables. Holes are passed by as
// large as the tables tell them: 4 GiB with all their tables take two thousand of them.
std::optional<uint64_t> nextMapped(const GuestMem& memory, const PageTables& tables, uint64_t va,
                                   uint64_t end);

}  // namespace ktstr
