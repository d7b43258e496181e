// What an ELF file says it needs at run time. All input is hostile: bounds-checked and bounded.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ktstr {

struct ElfNeeds {
  std::string interpreter;           // PT_INTERP; "" = static or a library
  std::vector<std::string> needed;   // DT_NEEDED, in order; at most 1024
  std::vector<std::string> rpath;    // DT_RPATH, split at colons, $ORIGIN and so on unexpanded
  std::vector<std::string> runpath;  // DT_RUNPATH
};

bool isElfFile(std::span<const std::byte> file);

// True if it is for the architecture guests run: ELF64, little endian, x86-64.
bool isGuestArchitecture(std::span<const std::byte> elf);

// `elf` must satisfy isElfFile() and isGuestArchitecture(). Throws Error "binary-invalid" (ExitCode::usage)
// saying what is out of bounds.
ElfNeeds readElfNeeds(std::span<const std::byte> elf);

}  // namespace ktstr
