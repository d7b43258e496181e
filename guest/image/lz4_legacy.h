// The LZ4 legacy frame, the one LZ4 format that Linux unpacks an initramfs from (lib/decompress_unlz4.c):
// magic 0x184C2102, then blocks of a 32-bit compressed size and data, each of 8 MiB uncompressed but the
// last. There is no end mark: nothing may follow, not even padding, in what the kernel is told is the initrd.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace ktstr {

std::vector<std::byte> compressLz4Legacy(std::span<const std::byte> content);

}  // namespace ktstr
