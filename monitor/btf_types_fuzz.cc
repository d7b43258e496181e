#include "monitor/kernel_layout.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    ktstr::KernelLayout::fromBtf(ktstr::BtfTypes({reinterpret_cast<const std::byte*>(data), size}));
  } catch (const ktstr::Error&) {
  }
  return 0;
}
