// Debian packages: ar, and tar inside.
#include <cstdint>
#include <string>

#include "cache/deb_archive.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace {

void read(std::string_view package) {
  const ktstr::Fd file = ktstr::makeMemfd("deb", 0);
  ktstr::writeAll(file.get(), package);
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
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string content(reinterpret_cast<const char*>(data), size);
  read(content);
  // The same as the member data.tar of a package, so that the tar inside is reached.
  std::string length = std::to_string(size);
  length.resize(10, ' ');
  read("!<arch>\ndata.tar/       0           0     0     100644  " + length + "`\n" + content);
  return 0;
}
