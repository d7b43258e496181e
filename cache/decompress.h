// Decompressors for what is found inside kernel images: one whole stream in memory to one buffer.
//
// Each takes bytes that begin with the stream; bytes after its end are ignored (kernel payloads have the size
// of the output appended). Throws Error "kernel-payload-corrupt" with the position reached, also when the
// output would be larger than `limit` bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace ktstr::cache {

enum class Compression { none, gzip, xz, lz4, zstd };

// By magic; none if it is not one of them.
Compression compressionOf(std::span<const std::byte> bytes);
std::string_view nameOf(Compression compression);

std::vector<std::byte> decompress(Compression compression, std::span<const std::byte> bytes, size_t limit);

}  // namespace ktstr::cache
