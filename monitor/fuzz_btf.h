// For fuzzers: BTF whose type section is what the fuzzer says, with strings that are right.
#pragma once

#include <linux/btf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace ktstr::test {

// Of at least two bytes of input: they say how long the type section is that follows, at most what is there,
// in whole words.
inline size_t fuzzedTypeBytes(std::span<const uint8_t> input) {
  return std::min(size_t{input[0]} | size_t{input[1]} << 8, input.size() - 2) & ~size_t{3};
}

template <size_t count>
std::vector<std::byte> fuzzedBtf(std::span<const uint8_t> input, const char (&strings)[count]) {
  const size_t typeBytes = fuzzedTypeBytes(input);
  std::vector<std::byte> bytes(sizeof(btf_header) + typeBytes + count);
  btf_header header{};
  header.magic = BTF_MAGIC;
  header.version = BTF_VERSION;
  header.hdr_len = sizeof header;
  header.type_len = header.str_off = static_cast<uint32_t>(typeBytes);
  header.str_len = count;
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, input.data() + 2, typeBytes);
  std::memcpy(bytes.data() + sizeof header + typeBytes, strings, count);
  return bytes;
}

}  // namespace ktstr::test
