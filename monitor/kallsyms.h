// Decodes the symbol table that a Linux kernel carries for itself (scripts/kallsyms.c, kernel/kallsyms.c).
//
//   names      for each symbol a length (one byte, or two if the first has its top bit set) and that many
//   token numbers tokens     256 NUL-terminated strings and their 16-bit offsets; the first character of a
//   symbol is its type offsets    32 bits for each symbol, in one of three encodings:
//     place-relative        signed, from the entry's own address (Linux 7.0 on; no kallsyms_relative_base)
//     base-relative         unsigned, from kallsyms_relative_base
//     absolute per-CPU      signed: >= 0 is an absolute value, < 0 is base - 1 - offset (SMP before
//     Linux 6.15)
// Which one it is shows in whether `_stext` comes out where VMCOREINFO says it is.
#pragma once

#include <optional>

#include "monitor/guest_mem.h"
#include "monitor/symbol_table.h"

namespace ktstr {

inline constexpr uint32_t maxKernelSymbols = 1'000'000;

// Views of guest memory, each as long as the memory goes on or as it can be at most.
struct KallsymsSource {
  uint32_t count = 0;
  std::span<const std::byte> names;
  std::span<const std::byte> tokenTable;
  std::span<const std::byte> tokenIndex;
  std::span<const std::byte> offsets;
  uint64_t offsetsAddress = 0;           // run-time address of `offsets`
  std::optional<uint64_t> relativeBase;  // run-time value
  uint64_t stext = 0;                    // run-time address of _stext
  uint64_t slide = 0;                    // subtracted from what is not absolute
};

// Returns indexed symbols in ascending address order. Throws Error "kallsyms-invalid" saying what does not
// fit. Bounded by maxKernelSymbols, 512 bytes a name (KSYM_NAME_LEN) and 64 MiB of names.
SymbolStorage decodeKallsyms(const KallsymsSource& source);

}  // namespace ktstr
