// Where the dynamic linker looks for libraries, ld.so(8) and ldconfig(8).
#pragma once

#include <string>
#include <vector>

namespace ktstr {

struct LibraryPaths {
  std::vector<std::string> configured;  // from ld.so.conf; known to a linker only through its ld.so.cache
  std::vector<std::string> defaults;    // compiled into it
};

// This system's: /etc/ld.so.conf and the default directories of Debian's and Fedora's x86-64 linkers.
LibraryPaths systemLibraryPaths();

// The directories an ld.so.conf lists, following `include` lines with globs up to 8 deep. Files that cannot
// be read count as empty, as for ldconfig.
std::vector<std::string> readLdSoConf(const std::string& path);

// Replaces $ORIGIN, $LIB and $PLATFORM, also in braces. "" if another token is left.
std::string expandTokens(const std::string& directory, const std::string& origin);

}  // namespace ktstr
