#include "protocol/sparse.h"

#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t pageSize = 4096;

bool isZero(std::span<const std::byte> bytes) {
  static constexpr std::byte zeros[pageSize]{};
  return std::memcmp(bytes.data(), zeros, bytes.size()) == 0;
}

Error failed(const char* name, const std::string& doing, int errnum) {
  if (errnum == ENOSPC) return errnoError("disk-full", doing, "free some space", errnum);
  return errnoError(name, doing, "", errnum);
}

void writeAt(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) throw failed("write-failed", text("write at offset ", hex(offset)), errno);
    offset += static_cast<uint64_t>(wrote);
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
}

// Where the next data at or behind `offset` begins, or `end`.
off_t nextData(int fd, off_t offset, off_t end) {
  const off_t data = lseek(fd, offset, SEEK_DATA);
  if (data >= 0) return std::min(data, end);
  if (errno == ENXIO) return end;  // nothing but a hole up to the end
  throw failed("copy-failed", text("look for data from offset ", hex(static_cast<uint64_t>(offset))), errno);
}

void copyRun(int from, off_t begin, off_t end, int to, off_t target) {
  if (lseek(to, target, SEEK_SET) < 0) throw failed("copy-failed", "seek", errno);
  while (begin < end) {
    const ssize_t copied = sendfile(to, from, &begin, static_cast<size_t>(end - begin));
    if (copied > 0 || (copied < 0 && errno == EINTR)) continue;
    throw failed("copy-failed", text("copy from offset ", hex(static_cast<uint64_t>(begin))),
                 copied < 0 ? errno : EIO);
  }
}

void readRun(int from, off_t begin, off_t end, std::byte* target) {
  while (begin < end) {
    const ssize_t got = pread(from, target, static_cast<size_t>(end - begin), begin);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw failed("copy-failed", text("read from offset ", hex(static_cast<uint64_t>(begin))),
                   got < 0 ? errno : EIO);
    }
    begin += got;
    target += got;
  }
}

// Calls run(begin, end) for each stretch of data in [start, end) of a file.
template <typename Run>
void forEachRun(int fd, off_t start, off_t end, Run run) {
  off_t at = nextData(fd, start, end);
  while (at < end) {
    const off_t hole = std::min(lseek(fd, at, SEEK_HOLE), end);
    if (hole <= at) throw failed("copy-failed", "look for a hole: the file is changing", EIO);
    run(at, hole);
    at = nextData(fd, hole, end);
  }
}

}  // namespace

void writeSparse(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  size_t start = 0;  // of the run of pages to be written
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t length = std::min(bytes.size() - at, pageSize - (offset + at) % pageSize);
    if (isZero(bytes.subspan(at, length))) {
      writeAt(fd, offset + start, bytes.subspan(start, at - start));
      start = at + length;
    }
    at += length;
  }
  writeAt(fd, offset + start, bytes.subspan(start));
}

void copySparse(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size) {
  const auto start = static_cast<off_t>(fromOffset);
  const auto shift = static_cast<off_t>(toOffset) - start;
  forEachRun(from, start, static_cast<off_t>(fromOffset + size),
             [&](off_t begin, off_t end) { copyRun(from, begin, end, to, begin + shift); });
}

void readSparse(int from, uint64_t fromOffset, std::span<std::byte> zeros) {
  const auto start = static_cast<off_t>(fromOffset);
  forEachRun(from, start, static_cast<off_t>(fromOffset + zeros.size()),
             [&](off_t begin, off_t end) { readRun(from, begin, end, zeros.data() + (begin - start)); });
}

}  // namespace ktstr
