// VMCOREINFO: the text in which a Linux kernel describes itself to crash tools (kernel/vmcore_info.c,
// arch/x86/kernel/vmcore_info_64.c; Documentation/admin-guide/kdump/vmcoreinfo.rst). Lines "KEY=value".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ktstr {

inline constexpr std::string_view vmcoreinfoStart = "OSRELEASE=";
inline constexpr size_t vmcoreinfoLimit = 4096;  // VMCOREINFO_BYTES: one page, NUL padded

// What we use of it. Addresses are run-time addresses (slide included).
struct Vmcoreinfo {
  std::string release;        // OSRELEASE, uname -r
  std::string buildId;        // BUILD-ID, hex; empty before Linux 5.9 (0935288c6e00)
  uint64_t slide = 0;         // KERNELOFFSET: virtual KASLR slide, a multiple of 4096
  uint64_t physBase = 0;      // NUMBER(phys_base), modulo 2^64: text physical = va - START_KERNEL_map + this
  uint64_t swapperPgDir = 0;  // SYMBOL(swapper_pg_dir)
  uint64_t stext = 0;         // SYMBOL(_stext)
  std::optional<unsigned> levels;     // from NUMBER(pgtable_l5_enabled): 4 or 5
  std::optional<uint64_t> imageSize;  // NUMBER(KERNEL_IMAGE_SIZE)
  // SYMBOL(kallsyms_*): since Linux 6.0 (5fd8fea935a1, f09bddbd8661)
  uint64_t kallsymsNames = 0;
  uint64_t kallsymsCount = 0;  // address of kallsyms_num_syms
  uint64_t kallsymsTokenTable = 0;
  uint64_t kallsymsTokenIndex = 0;
  uint64_t kallsymsOffsets = 0;
  std::optional<uint64_t>
      kallsymsRelativeBase;  // absent: offsets are relative to their own place (Linux 7.0)
};

struct VmcoreinfoResult {
  std::optional<Vmcoreinfo> info;
  std::string problem;  // why there is none: "no SYMBOL(kallsyms_names)"
};

// Reads text that begins with OSRELEASE= and ends at the first NUL or after vmcoreinfoLimit bytes. Unknown
// lines are skipped; a line that we need and that is missing or malformed is a problem.
VmcoreinfoResult parseVmcoreinfo(std::string_view text);

}  // namespace ktstr
