#include "guest/boot/kernel_loader.h"

#include <sys/mman.h>

#include <algorithm>

#include "cache/kernel_image.h"
#include "guest/boot/memory_plan.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/sparse.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr uint64_t pageSize = 4096;
constexpr uint64_t entry64Offset = 0x200;  // boot.rst, "64-bit Boot Protocol"
constexpr uint16_t xlfKernel64 = 1;

Error invalid(const std::string& reason) {
  return Error(ExitCode::usage, "kernel-image-invalid", reason,
               "use a distribution's vmlinuz or its vmlinux");
}

}  // namespace

KernelImage::KernelImage(int fd, bool throughBzImage) : fd_(fd), file_(fd, 0, fileSize(fd), PROT_READ) {
  if (!cache::isBzImage(file_.bytes())) {
    if (throughBzImage) throw invalid("not a bzImage, which is needed to boot through its own entry");
    placeElf(file_.bytes(), true);
  } else if (throughBzImage) {
    placeBzImage(file_.bytes());
  } else {
    extracted_ = cache::extractVmlinux(file_.bytes());
    placeElf(extracted_, false);
  }
}

void KernelImage::placeElf(std::span<const std::byte> image, bool fromFile) {
  const cache::KernelElf elf = cache::parseKernelElf(image);
  entry_ = elf.entry;
  bool entryInside = false;
  for (const cache::Segment& segment : elf.segments) {
    if (segment.paddr < kernelFloor || segment.paddr + segment.memsz > lowRamEnd) {
      throw invalid(text("segment at ", hex(segment.paddr), " of ", segment.memsz,
                         " bytes is not between 1 MiB and 2 GiB"));
    }
    pieces_.push_back({segment.paddr, image.subspan(segment.offset, segment.filesz),
                       fromFile ? std::optional(segment.offset) : std::nullopt});
    end_ = std::max(end_, segment.paddr + segment.memsz);
    entryInside |= entry_ >= segment.paddr && entry_ < segment.paddr + segment.filesz;
  }
  if (!entryInside) throw invalid(text("entry point ", hex(entry_), " lies in no segment"));
}

void KernelImage::placeBzImage(std::span<const std::byte> image) {
  const cache::SetupHeader header = cache::parseSetupHeader(image);
  if ((header.xloadflags & xlfKernel64) == 0) throw invalid("bzImage has no 64-bit entry");
  const std::span<const std::byte> code = image.subspan(header.protectedModeOffset);
  const uint64_t place = header.preferredAddress;
  if (place < kernelFloor || place >= lowRamEnd || code.size() <= entry64Offset ||
      header.initSize < code.size()) {
    throw invalid(text("preferred address ", hex(place), ", init_size ", header.initSize, " and ",
                       code.size(), " bytes of code do not go together"));
  }
  pieces_.push_back({place, code, header.protectedModeOffset});
  entry_ = place + entry64Offset;
  end_ = place + header.initSize;
  setupHeader_ = header.raw;
}

// The helper takes the end of the largest piece: what makes both about as long.
void KernelImage::copyTo(int ram, CopyHelper* helper) const {
  const auto largest = std::max_element(pieces_.begin(), pieces_.end(), [](const auto& a, const auto& b) {
    return a.bytes.size() < b.bytes.size();
  });
  for (auto piece = pieces_.begin(); piece != pieces_.end(); ++piece) {
    if (!piece->fileOffset) {
      writeSparse(ram, piece->gpa, piece->bytes);
      continue;
    }
    uint64_t ours = piece->bytes.size();
    if (helper != nullptr && piece == largest && piece->gpa % pageSize == 0) {
      ours = ours / 5 * 2 / pageSize * pageSize;
      helper->begin(fd_, *piece->fileOffset + ours, ram, piece->gpa + ours, piece->bytes.size() - ours);
    }
    copySparse(fd_, *piece->fileOffset, ram, piece->gpa, ours);
  }
  if (helper != nullptr) helper->finish();
}

}  // namespace ktstr
