#include <cstdint>

#include "guest/image/elf_needs.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  if (!ktstr::isElfFile(file) || !ktstr::isGuestArchitecture(file)) return 0;
  try {
    ktstr::readElfNeeds(file);
  } catch (const ktstr::Error&) {
  }
  return 0;
}
