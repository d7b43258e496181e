// Little-endian binary tables, written field by field.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace ktstr {

class ByteWriter {
 public:
  ByteWriter& u8(uint64_t value) { return number(value, 1); }
  ByteWriter& u16(uint64_t value) { return number(value, 2); }
  ByteWriter& u32(uint64_t value) { return number(value, 4); }
  ByteWriter& u64(uint64_t value) { return number(value, 8); }
  ByteWriter& zeros(size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  // Cut or padded with blanks to `width` bytes, as ACPI wants its names.
  ByteWriter& name(std::string_view text, size_t width) {
    for (size_t i = 0; i < width; i++) u8(i < text.size() ? static_cast<uint8_t>(text[i]) : ' ');
    return *this;
  }
  // Pads with zeros up to a multiple of `alignment`, or up to `offset`.
  ByteWriter& align(size_t alignment) {
    return padTo((bytes_.size() + alignment - 1) / alignment * alignment);
  }
  ByteWriter& padTo(size_t offset) {
    assert(offset >= bytes_.size());
    bytes_.resize(offset);
    return *this;
  }
  ByteWriter& append(const std::vector<std::byte>& bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  // Overwrites what is already there.
  void patch(size_t offset, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) bytes_.at(offset + i) = static_cast<std::byte>(value >> (8 * i));
  }

  size_t size() const { return bytes_.size(); }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  ByteWriter& number(uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }
  std::vector<std::byte> bytes_;
};

}  // namespace ktstr
