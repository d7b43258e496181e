// Whatever the archive says, nothing may appear outside the directory, and nothing above the bounds in it.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <span>

#include "kbuild/extract.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fs = std::filesystem;
  char pattern[] = "/tmp/ktstr-fuzz-XXXXXX";
  const fs::path outside = mkdtemp(pattern);
  const fs::path inside = outside / "inside";
  fs::create_directory(inside);
  const ktstr::Fd archive = ktstr::makeMemfd("archive", 0);
  ktstr::writeAll(archive.get(), std::as_bytes(std::span(data, size)));
  constexpr uint64_t limit = 1 << 16;
  try {
    const auto result = ktstr::kbuild::extractTree(archive.get(), {.directory = inside,
                                                                   .wanted = {"a/", "b"},
                                                                   .unwanted = {},
                                                                   .maxBytes = limit,
                                                                   .maxFiles = 64,
                                                                   .onProgress = {}});
    if (result.bytes > limit || result.files > 64) abort();
  } catch (const ktstr::Error&) {
  }
  if (std::distance(fs::directory_iterator(outside), fs::directory_iterator()) != 1) abort();
  fs::remove_all(outside);
  return 0;
}
