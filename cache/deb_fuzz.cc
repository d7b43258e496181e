// Debian packages: ar, and tar inside.
#include <cstdint>

#include "cache/deb_archive.h"
#include "protocol/error.h"
#include "protocol/fd.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ktstr::Fd file = ktstr::makeMemfd("deb", 0);
  ktstr::writeAll(file.get(), std::as_bytes(std::span(data, size)));
  try {
    size_t total = 0;
    ktstr::cache::readDeb(file.get(), "fuzz.deb", 8, [&](std::string_view) {
      return [&](std::span<const std::byte> piece) {
        total += piece.size();
        if (total > (size_t{1} << 20)) throw ktstr::Error(ktstr::ExitCode::fail, "enough", "");
      };
    });
  } catch (const ktstr::Error&) {
  }
  return 0;
}
