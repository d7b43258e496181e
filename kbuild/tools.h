// The host programs that a scheduler build needs, found in PATH.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr::kbuild {

inline constexpr int oldestClang = 17;     // older ones cannot compile 7.x's tools/sched_ext
inline constexpr int preferredClang = 22;  // scx_qmap as compiled by 16 or 19 is refused by 7.3's verifier

struct Tools {
  std::string make, compiler, linker, python, setsid;  // paths; compiler is gcc, linker only has to be there
  std::string clang, llvmStrip;                        // of one LLVM version
  int clangMajor = 0;
  std::string compilerVersion, clangVersion;  // first line of --version
  std::vector<std::string> staticLibraries;   // linker flags that a static libbpf program ends with
};

// Looks for clang-22, then newer ones up to 29, then older ones down to 17, then an unversioned clang that is
// at least 17; its llvm-strip must be there too. Throws Error
//   "clang-missing"       no such pair; says which clang versions there are, and which package to install
//   "build-tool-missing"  make, gcc, ld, python3 or setsid; with the package
Tools findTools();

// 22 for "Debian clang version 22.1.8 (1~deb12u1)"; nothing if there is no such number.
std::optional<int> clangMajor(std::string_view versionLine);

}  // namespace ktstr::kbuild
