// Reading archives and LZ4 legacy frames back in tests, independently of the writers.
#pragma once

#include <lz4.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace ktstr {

struct CpioMember {
  std::string name;
  unsigned mode, major, minor;
  std::string content;
};

// Throws if anything is malformed or there is no trailer.
inline std::vector<CpioMember> readCpio(std::span<const std::byte> bytes) {
  const std::string archive(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<CpioMember> members;
  for (size_t at = 0;;) {
    if (at % 4 != 0 || archive.compare(at, 6, "070701") != 0) throw std::runtime_error("no newc header");
    const auto field = [&](size_t index) {
      return static_cast<unsigned>(std::stoul(archive.substr(at + 6 + 8 * index, 8), nullptr, 16));
    };
    const size_t size = field(6), nameSize = field(11);
    const std::string name = archive.substr(at + 110, nameSize - 1);
    if (name == "TRAILER!!!") return members;
    const size_t contentAt = (at + 110 + nameSize + 3) / 4 * 4;
    if (contentAt + size > archive.size()) throw std::runtime_error("member beyond the end");
    members.push_back({name, field(1), field(9), field(10), archive.substr(contentAt, size)});
    at = (contentAt + size + 3) / 4 * 4;
  }
}

inline std::string unpackLz4Legacy(std::span<const std::byte> frame) {
  const auto word = [&](size_t at) {
    unsigned value;
    std::memcpy(&value, frame.subspan(at, 4).data(), 4);
    return value;
  };
  if (word(0) != 0x184C2102) throw std::runtime_error("wrong magic");
  std::string content;
  for (size_t at = 4; at < frame.size(); at += 4 + word(at)) {
    std::string block(8 << 20, '\0');
    const auto* data = reinterpret_cast<const char*>(frame.subspan(at + 4, word(at)).data());
    const int size = LZ4_decompress_safe(data, block.data(), static_cast<int>(word(at)), 8 << 20);
    if (size < 0) throw std::runtime_error("damaged block");
    content.append(block, 0, static_cast<size_t>(size));
  }
  return content;
}

}  // namespace ktstr
