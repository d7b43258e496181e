// Each vCPU's own APIC id in the machine's CPUID table.
#pragma once

#include <cstdint>
#include <vector>

#include "vmm/machine_check.h"

namespace ktstr::vmm {

// The table as vCPU `apicId` sees it (guest/boot/cpuid.h says which fields those are).
std::vector<CpuidEntry> cpuidOf(std::vector<CpuidEntry> table, uint32_t apicId);

}  // namespace ktstr::vmm
