// Where the pieces of a kernel image go in guest-physical memory, and how they get there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "guest/boot/copy_helper.h"
#include "protocol/fd.h"

namespace ktstr {

struct KernelPiece {
  uint64_t gpa;
  std::span<const std::byte> bytes;
  std::optional<uint64_t> fileOffset;  // of the same bytes in the image's file, unless they were extracted
};

// Owns the image but not the descriptor; movable. Errors as cache/kernel_image.h.
class KernelImage {
 public:
  // `throughBzImage`: as BootRequest. Otherwise a bzImage's payload is extracted.
  KernelImage(int fd, bool throughBzImage);

  const std::vector<KernelPiece>& pieces() const { return pieces_; }
  // Copies the pieces to guest memory that is all zeros, with a helper if there is one. Throws Error as
  // protocol/sparse.h.
  void copyTo(int ram, CopyHelper* helper) const;
  uint64_t entry() const { return entry_; }  // 64-bit entry point, boot_params in RSI
  uint64_t end() const { return end_; }      // end of all memory the kernel needs at its place, also .bss
  // A bzImage's header from offset 0x1f1 when it is entered itself, else empty.
  std::span<const std::byte> setupHeader() const { return setupHeader_; }

 private:
  void placeElf(std::span<const std::byte> image, bool fromFile);
  void placeBzImage(std::span<const std::byte> image);

  int fd_;
  Mapping file_;
  std::vector<std::byte> extracted_;
  std::vector<KernelPiece> pieces_;
  uint64_t entry_ = 0;
  uint64_t end_ = 0;
  std::span<const std::byte> setupHeader_;
};

}  // namespace ktstr
