// The tables the boot vCPU starts on: identity map of the first 4 GiB, flat GDT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ktstr {

// PML4, PDPT and four page directories of 2 MiB pages, to be placed at `gpa` (a multiple of 4096).
std::vector<std::byte> buildPageTables(uint64_t gpa);

// Selector 0x10 is 64-bit code, 0x18 data (boot.rst, "64-bit Boot Protocol": __BOOT_CS, __BOOT_DS).
std::vector<std::byte> buildGdt();

}  // namespace ktstr
