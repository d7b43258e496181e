#include "monitor/vmcore.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint64_t end = 0;
  try {
    constexpr uint64_t fileBytes = 1 << 20;
    for (const auto& range : ktstr::vmcoreRanges(std::as_bytes(std::span(data, size)), fileBytes)) {
      // In order, apart from each other, and in the file.
      if (range.gpa < end || range.offset > fileBytes || range.size > fileBytes - range.offset)
        __builtin_trap();
      end = range.gpa + range.size;
    }
  } catch (const ktstr::Error&) {
  }
  return 0;
}
