#include "protocol/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
