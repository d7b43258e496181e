// The bzImage set-up header and the decompressors behind it.
#include <cstdint>

#include "cache/decompress.h"
#include "cache/kernel_image.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr::cache;
  constexpr size_t limit = size_t{1} << 20;
  const Bytes image(reinterpret_cast<const std::byte*>(data), size);
  try {
    const SetupHeader header = parseSetupHeader(image);
    const Bytes payload =
        image.subspan(header.protectedModeOffset + header.payloadOffset, header.payloadLength);
    payloadCompression(image);
    decompress(compressionOf(payload), payload, limit);
  } catch (const ktstr::Error&) {
  }
  try {
    decompress(compressionOf(image), image, limit);
  } catch (const ktstr::Error&) {
  }
  return 0;
}
