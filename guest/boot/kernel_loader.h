// Where the pieces of a kernel image go in guest-physical memory, and how they get there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

struct KernelPiece {
  uint64_t gpa;
  std::span<const std::byte> bytes;
};

// Owns the image; movable. Errors as cache/kernel_image.h.
class KernelImage {
 public:
  // `throughBzImage`: as BootRequest. Otherwise a bzImage's payload is extracted.
  KernelImage(int fd, bool throughBzImage);

  const std::vector<KernelPiece>& pieces() const { return pieces_; }
  uint64_t entry() const { return entry_; }  // 64-bit entry point, boot_params in RSI
  uint64_t end() const { return end_; }      // end of all memory the kernel needs at its place, also .bss
  // A bzImage's header from offset 0x1f1 when it is entered itself, else empty.
  std::span<const std::byte> setupHeader() const { return setupHeader_; }

 private:
  void placeElf(std::span<const std::byte> image);
  void placeBzImage(std::span<const std::byte> image);

  Mapping file_;
  std::vector<std::byte> extracted_;
  std::vector<KernelPiece> pieces_;
  uint64_t entry_ = 0;
  uint64_t end_ = 0;
  std::span<const std::byte> setupHeader_;
};

// Writes bytes at `offset` of a descriptor that reads as zeros there, leaving holes for whole pages of zeros.
void writeSparse(int fd, uint64_t offset, std::span<const std::byte> bytes);

}  // namespace ktstr
