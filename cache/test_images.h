// Small made-up kernel images and packages for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "cache/decompress.h"
#include "protocol/error.h"

namespace ktstr::cache::test {

struct ElfOptions {
  std::string release = "9.9.1-test";
  bool btf = true;
  bool schedExt = true;
  bool buildId = true;
  uint16_t machine = 62;  // EM_X86_64
};
inline constexpr const char* testBuildId = "00112233445566778899aabbccddeeff01020304";

// An x86-64 ELF with one PT_LOAD at 16 MiB (64 bytes in the file, 4096 in memory), a build id note, the
// banner, .BTF.
std::string makeVmlinux(const ElfOptions& options = {});

// `content` compressed the way kernel payloads are, with its size appended.
std::string compressPayload(Compression compression, const std::string& content);

// A bzImage whose payload is `payload`; one set-up sector, payload at 0x440.
std::string makeBzImage(const std::string& payload);
inline std::string makeBzImage() {
  return makeBzImage(compressPayload(Compression::zstd, makeVmlinux()));
}

// A .deb with data.tar.xz.
std::string makeDeb(const std::map<std::string, std::string>& files);

// A directory that is removed with everything in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void writeFile(const std::string& path, const std::string& content);
// Changes the byte at `offset`.
void flipByte(const std::string& path, size_t offset);

inline std::span<const std::byte> bytesOf(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Name of the Error that `action` throws; "" if none.
template <typename Action>
std::string errorName(Action action) {
  try {
    action();
    return "";
  } catch (const Error& error) {
    return error.name();
  }
}

}  // namespace ktstr::cache::test
