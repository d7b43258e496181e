// Owners of descriptors and mappings, and the few calls on them that everything needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace ktstr {

// Owns one file descriptor; closes it on destruction. -1 = none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset() { *this = Fd(); }
  Fd duplicate() const;  // F_DUPFD_CLOEXEC; throws Error "dup-failed"

 private:
  int fd_ = -1;
};

// Owns one mmap of a descriptor; unmaps it on destruction.
class Mapping {
 public:
  Mapping() = default;
  // Maps [offset, offset+size) of fd shared with the given PROT_* bits. Throws Error "map-failed" with errno.
  Mapping(int fd, uint64_t offset, size_t size, int protection);
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A pair of connected, close-on-exec stream sockets.
std::pair<Fd, Fd> makeSocketPair();

// Sets or clears FD_CLOEXEC.
void setCloseOnExec(int fd, bool on);

// Sets O_NONBLOCK, with fcntl: KJ would use ioctl, which sandboxes do not allow.
void setNonBlocking(int fd);

// Nanoseconds of CLOCK_MONOTONIC.
uint64_t monotonicNs();

}  // namespace ktstr
