#include "guest/image/lz4_legacy.h"

#include <lz4.h>

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace ktstr {

namespace {

constexpr uint32_t magic = 0x184C2102;
constexpr size_t blockSize = size_t{8} << 20;

void putLittleEndian(std::byte* to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = static_cast<std::byte>(value >> (8 * i));
}

}  // namespace

std::vector<std::byte> compressLz4Legacy(std::span<const std::byte> content) {
  std::vector<std::byte> frame(4);
  putLittleEndian(frame.data(), magic);
  while (!content.empty()) {
    const std::span<const std::byte> block = content.first(std::min(content.size(), blockSize));
    content = content.subspan(block.size());
    const int bound = LZ4_compressBound(static_cast<int>(block.size()));
    const size_t header = frame.size();
    frame.resize(header + 4 + static_cast<size_t>(bound));
    const int size = LZ4_compress_default(reinterpret_cast<const char*>(block.data()),
                                          reinterpret_cast<char*>(frame.data() + header + 4),
                                          static_cast<int>(block.size()), bound);
    assert(size > 0);
    putLittleEndian(frame.data() + header, static_cast<uint32_t>(size));
    frame.resize(header + 4 + static_cast<size_t>(size));
  }
  return frame;
}

}  // namespace ktstr
