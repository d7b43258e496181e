// x86-64 kernel images: the bzImage set-up header and payload, and the ELF inside.
//
// All input is hostile: every offset is checked before use. Spans in results point into the image given,
// which must outlive them. Errors, all ExitCode::usage and with the offending offset, value and limit:
//   "kernel-image-truncated"      something reaches beyond the end of the image
//   "kernel-image-invalid"        not a kernel image, or one with contradictory fields
//   "kernel-wrong-architecture"   ELF for another machine, or not 64-bit
//   "kernel-payload-corrupt"      the payload does not decompress, or to more than maxPayload bytes
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ktstr::cache {

using Bytes = std::span<const std::byte>;

inline constexpr size_t maxPayload = size_t{512} << 20;

// ---- bzImage: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"
// ------------------------------------

struct SetupHeader {
  uint16_t version;      // boot protocol, 0x020f = 2.15; at least 0x0208 (payload fields)
  uint8_t setupSectors;  // 512-byte sectors of set-up code after the boot sector (0 in the file means 4)
  uint8_t loadflags;
  uint16_t xloadflags;  // bit 0: 64-bit entry at protected-mode code + 0x200
  uint32_t kernelAlignment;
  bool relocatable;
  uint32_t commandLineSize;   // without the terminating NUL
  uint32_t initrdAddressMax;  // highest address of the initrd's last byte
  uint32_t payloadOffset;     // from the start of the protected-mode code
  uint32_t payloadLength;
  uint64_t preferredAddress;
  uint32_t initSize;          // linear memory the kernel needs at its load address
  std::string kernelVersion;  // "7.3.4+deb13-cloud-amd64 (debian-kernel@...) #1 SMP ..."; "" if there is none

  Bytes raw;                   // 0x1f1 .. end of the header: what goes to boot_params at the same offset
  size_t protectedModeOffset;  // of the protected-mode code in the file: (setupSectors + 1) * 512
};

bool isBzImage(Bytes image);
SetupHeader parseSetupHeader(Bytes image);

// The vmlinux ELF inside a bzImage: gzip, xz, lz4 (legacy frames) or zstd, told by its magic.
// Takes about a second for a distribution's kernel.
std::vector<std::byte> extractVmlinux(Bytes bzImage);
// "gzip", "xz", "lz4" or "zstd".
std::string payloadCompression(Bytes bzImage);

// ---- vmlinux: ELF64, x86-64
// ------------------------------------------------------------------------------------

struct Segment {  // PT_LOAD
  uint64_t paddr;
  uint64_t vaddr;
  uint64_t offset;  // in the file; offset + filesz is within it
  uint64_t filesz;
  uint64_t memsz;  // >= filesz; the rest is zero
};

struct KernelElf {
  uint64_t entry;                      // physical address of startup_64
  std::vector<Segment> segments;       // in file order, at least one; paddr + memsz does not wrap
  std::optional<std::string> buildId;  // GNU build id, hex
  std::optional<Bytes> btf;            // section .BTF
};

bool isElf(Bytes image);
KernelElf parseKernelElf(Bytes vmlinux);

// What follows "Linux version " in an image's linux_banner, up to the first blank: "7.3.4+deb13-cloud-amd64".
std::optional<std::string> findRelease(Bytes vmlinux);

// BTF has STRUCT sched_ext_ops, that is: sched_ext is built in. Throws Error "kernel-btf-invalid".
bool hasSchedExt(Bytes btf);

}  // namespace ktstr::cache
