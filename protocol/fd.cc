#include "protocol/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Fd Fd::duplicate() const {
  Fd copy(fcntl(fd_, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw errnoError("dup-failed", text("duplicate descriptor ", fd_));
  return copy;
}

Mapping::Mapping(int fd, uint64_t offset, size_t size, int protection) {
  void* address = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    throw errnoError("map-failed",
                     text("map ", size, " bytes at offset ", hex(offset), " of descriptor ", fd));
  }
  data_ = static_cast<std::byte*>(address);
  size_ = size;
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) munmap(data_, size_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
}

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

std::pair<Fd, Fd> makeSocketPair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw errnoError("socket-failed", "make a socket pair");
  }
  return {Fd(ends[0]), Fd(ends[1])};
}

void setCloseOnExec(int fd, bool on) {
  if (fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) != 0) throw errnoError("fcntl-failed", text("F_SETFD on ", fd));
}

void setNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
    throw errnoError("fcntl-failed", text("F_SETFL on ", fd));
  }
}

uint64_t monotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace ktstr
