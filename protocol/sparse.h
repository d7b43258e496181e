// Files that are mostly zeros: guest memory, kernel images. Pages of zeros are left as holes, which cost
// neither time nor memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ktstr {

// Writes bytes at `offset` of a file that reads as zeros there (or ends before), leaving holes for whole
// pages of zeros; the file's size may be less than the end of the bytes afterwards, if they end in zeros.
// Throws Error "write-failed" (ENOSPC: "disk-full").
void writeSparse(int fd, uint64_t offset, std::span<const std::byte> bytes);

// Copies `size` bytes of one file to another that reads as zeros there, holes left out, within the kernel
// (sendfile: two thirds of the time that writing from a mapping takes). Moves the offset of `to`. Throws
// Error "copy-failed" (ENOSPC: "disk-full"), also when `from` ends early.
void copySparse(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size);

// Reads zeros.size() bytes of a file into memory that is all zeros, of which it leaves alone what the file
// has holes for. Throws Error "copy-failed", also when `from` ends early within data.
void readSparse(int from, uint64_t fromOffset, std::span<std::byte> zeros);

}  // namespace ktstr
