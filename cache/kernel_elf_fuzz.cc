// vmlinux: ELF headers, notes, banner, BTF.
#include <bpf/libbpf.h>

#include <cstdint>

#include "cache/kernel_image.h"
#include "protocol/error.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  libbpf_set_print(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr::cache;
  const Bytes image(reinterpret_cast<const std::byte*>(data), size);
  try {
    findRelease(image);
    const KernelElf elf = parseKernelElf(image);
    for (const Segment& segment : elf.segments) (void)image.subspan(segment.offset, segment.filesz);
    if (elf.btf) hasSchedExt(*elf.btf);
  } catch (const ktstr::Error&) {
  }
  try {
    hasSchedExt(image);
  } catch (const ktstr::Error&) {
  }
  return 0;
}
