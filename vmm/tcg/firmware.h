// The reset ROM of a machine under an emulator (vmm/tcg/stub/reset.S), with the boot vCPU's state filled in.
#pragma once

#include <cstddef>
#include <span>

#include "vmm/machine_check.h"

namespace ktstr::vmm {

constexpr size_t kRomSize = 0x10000;
constexpr size_t kRomParameters =
    0xf000;  // "ktstrROM", rip, rsi, rsp, cr3 (8 bytes each), GDT limit (2), base (8)
constexpr size_t kRomCode = 0xf100;
constexpr size_t kRomResetVector = 0xfff0;

// The image as assembled, with an empty parameter block.
std::span<const std::byte> romImage();

// Writes the image with `boot` in its parameter block to `file`, from offset 0. Throws Error "write-failed".
void writeRom(int file, const BootState& boot);

}  // namespace ktstr::vmm
