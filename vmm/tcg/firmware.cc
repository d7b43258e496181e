#include "vmm/tcg/firmware.h"

#include <unistd.h>

#include <cstring>
#include <vector>

#include "protocol/error.h"

extern "C" {
extern const std::byte ktstr_rom[];
extern const std::byte ktstr_rom_end[];
}

namespace ktstr::vmm {

std::span<const std::byte> romImage() {
  return {ktstr_rom, ktstr_rom_end};
}

void writeRom(int file, const BootState& boot) {
  std::vector<std::byte> rom(romImage().begin(), romImage().end());
  std::byte* at = rom.data() + kRomParameters + 8;
  const auto put = [&at](auto value) {
    memcpy(at, &value, sizeof value);
    at += sizeof value;
  };
  put(boot.rip);
  put(boot.rsi);
  put(boot.rsp);
  put(boot.cr3);
  put(boot.gdtLimit);
  put(boot.gdtGpa);
  const ssize_t wrote = pwrite(file, rom.data(), rom.size(), 0);
  if (wrote != static_cast<ssize_t>(rom.size())) throw errnoError("write-failed", "write the firmware image");
}

}  // namespace ktstr::vmm
