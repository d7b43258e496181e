// boot_params ("zero page"), Documentation/arch/x86/zero-page.rst and boot.rst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "guest/boot/memory_plan.h"

namespace ktstr {

struct BootParams {
  std::span<const std::byte>
      setupHeader;                  // a bzImage's, from offset 0x1f1; empty for a vmlinux entered directly
  std::span<const E820Entry> e820;  // at most 128
  Range initrd;
  uint64_t rsdpGpa = 0;
  bool randomizeMemory = true;  // KASLR_FLAG: randomise the memory layout (direct map, vmalloc, vmemmap)
};

// The 4096 bytes at bootParamsGpa.
std::vector<std::byte> buildBootParams(const BootParams& params);

}  // namespace ktstr
