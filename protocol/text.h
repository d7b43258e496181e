// Making strings for messages: text("read ", path, " at ", hex(address)).
#pragma once

#include <cstdint>
#include <sstream>
#include <string>

namespace ktstr {

// Concatenates anything that has operator<<.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// 0x-prefixed, no leading zeros.
inline std::string hex(uint64_t value) {
  std::ostringstream out;
  out << "0x" << std::hex << value;
  return out.str();
}

}  // namespace ktstr
