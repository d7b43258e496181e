// Address translation as x86-64 hardware does it (Intel SDM vol. 3A 4.5, AMD APM vol. 2 5.3), from page
// tables in guest memory.
#pragma once

#include <cstdint>
#include <optional>

#include "monitor/guest_mem.h"

namespace ktstr {

// Where the kernel's page tables are.
struct PageTables {
  uint64_t root = 0;    // GPA of the top-level table (swapper_pg_dir)
  unsigned levels = 4;  // 4, or 5 with LA57
};

// True if bits above the translated ones repeat the top translated one.
bool isCanonical(uint64_t va, unsigned levels);

// GPA that va maps to through 4 KiB, 2 MiB or 1 GiB pages; nothing if it is not mapped, not canonical, or a
// table lies outside RAM. At most `levels` reads.
std::optional<uint64_t> walkPages(const GuestMem& memory, const PageTables& tables, uint64_t va);

}  // namespace ktstr
