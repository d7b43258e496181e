#include "monitor/core_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr {
namespace {

constexpr size_t pieceBytes = 64 * 1024;

bool canHaveHoles(int fd) {
  struct stat status {};
  const int flags = fcntl(fd, F_GETFL);
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && flags >= 0 && !(flags & O_APPEND) &&
         lseek(fd, 0, SEEK_CUR) == status.st_size;
}

}  // namespace

CoreOutput::CoreOutput(int fd) : fd_(fd), holes_(canHaveHoles(fd)) {
  if (isatty(fd))
    throw Error(ExitCode::usage, "terminal-refused", "a core is no text",
                "redirect standard output to a file");
}

void CoreOutput::write(std::span<const std::byte> bytes) {
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), pieceBytes))) {
    const auto piece = bytes.first(std::min(bytes.size(), pieceBytes));
    onPiece_();
    writeAll(fd_, piece);
    at_ += piece.size();
  }
}

void CoreOutput::put(uint64_t position, std::span<const std::byte> bytes) {
  static constexpr std::array<std::byte, pieceBytes> zeros{};
  if (position < at_) bytes = bytes.subspan(std::min<uint64_t>(bytes.size(), at_ - position));
  if (bytes.empty()) return;
  if (holes_ && at_ < position) {
    if (lseek(fd_, static_cast<off_t>(position - at_), SEEK_CUR) < 0)
      throw errnoError("write-failed", "leave a hole in standard output");
    at_ = position;
  }
  while (at_ < position) write(std::span(zeros).first(std::min<uint64_t>(zeros.size(), position - at_)));
  write(bytes);
}

void CoreOutput::finish(uint64_t size) {
  constexpr std::byte last{};
  if (at_ < size) put(size - 1, std::span(&last, 1));
}

}  // namespace ktstr
