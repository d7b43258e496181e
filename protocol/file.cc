#include "protocol/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

Fd openFile(const std::string& path, int flags, mode_t mode) {
  Fd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) throw errnoError("open-failed", "open " + path);
  return fd;
}

Fd makeMemfd(const char* name, uint64_t size) {
  Fd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) throw errnoError("memfd-failed", text("create memfd ", name));
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    throw errnoError("memfd-failed", text("size memfd ", name, " to ", size, " bytes"));
  }
  return fd;
}

uint64_t fileSize(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) throw errnoError("stat-failed", text("stat descriptor ", fd));
  return static_cast<uint64_t>(status.st_size);
}

std::string readAll(int fd, size_t limit) {
  std::string content;
  char buffer[65536];
  off_t offset = 0;
  for (;;) {
    ssize_t got = pread(fd, buffer, sizeof buffer, offset);
    if (got < 0 && errno == ESPIPE) got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw errnoError("read-failed", text("read descriptor ", fd, " at ", offset));
    if (got == 0) return content;
    if (content.size() + static_cast<size_t>(got) > limit) {
      throw Error(ExitCode::usage, "file-too-large", text("more than ", limit, " bytes"));
    }
    content.append(buffer, static_cast<size_t>(got));
    offset += got;
  }
}

std::string readFile(const std::string& path, size_t limit) {
  return readAll(openFile(path, O_RDONLY).get(), limit);
}

std::optional<std::string> readFileIfThere(const std::string& path, size_t limit) {
  try {
    return readFile(path, limit);
  } catch (const Error&) {
    return std::nullopt;
  }
}

void writeAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      const int number = errno;
      const bool full = number == ENOSPC || number == EDQUOT;
      throw errnoError(full ? "disk-full" : "write-failed", text("write ", bytes.size(), " bytes"),
                       full ? "free some space and run again" : "", number);
    }
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
}

void writeAll(int fd, std::string_view bytes) {
  writeAll(fd, std::as_bytes(std::span(bytes)));
}

}  // namespace ktstr
