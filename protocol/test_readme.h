// For tests: what README.md tells people to type.
#pragma once

#include <sstream>
#include <string>
#include <string_view>

#include "protocol/file.h"

namespace ktstr {

// The indented lines below the line of README.md (in the current directory) that begins with `heading`.
inline std::string commandsOfReadme(std::string_view heading) {
  std::istringstream readme(readFile("README.md"));
  std::string line, commands;
  while (std::getline(readme, line) && !line.starts_with(heading)) {
  }
  while (std::getline(readme, line) && (line.empty() || line.starts_with("    "))) commands += line + "\n";
  return commands;
}

}  // namespace ktstr
