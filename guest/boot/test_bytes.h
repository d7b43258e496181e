// Reading tables back in tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>

namespace ktstr {

// Little endian, bounds-checked.
template <typename Number>
Number numberAt(std::span<const std::byte> bytes, size_t offset) {
  Number value;
  if (offset + sizeof value > bytes.size()) throw std::out_of_range("test reads beyond the table");
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

inline std::string textAt(std::span<const std::byte> bytes, size_t offset, size_t size) {
  return {reinterpret_cast<const char*>(bytes.subspan(offset, size).data()), size};
}

}  // namespace ktstr
