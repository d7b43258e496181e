// A large file that is written from front to back, most of it holes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace ktstr {

class CoreOutput {
 public:
  // Looks whether holes can be left behind fd's position: in a regular file that ends there and is not opened
  // for appending. Elsewhere they are written as zeros. The descriptor stays the caller's. Throws Error
  // "terminal-refused".
  explicit CoreOutput(int fd);

  // Called before each piece that is written.
  void onPiece(std::function<void()> call) { onPiece_ = std::move(call); }

  // Bytes at a position, counted from where the output began. What lies between it and the end of what was
  // put before is a hole; what was put already is not written again. In pieces of at most 64 KiB, a pipe's
  // buffer. Throws Error "write-failed", "disk-full".
  void put(uint64_t position, std::span<const std::byte> bytes);

  // Makes it `size` bytes long.
  void finish(uint64_t size);

  uint64_t position() const { return at_; }

 private:
  void write(std::span<const std::byte> bytes);

  int fd_;
  bool holes_;
  uint64_t at_ = 0;
  std::function<void()> onPiece_ = [] {};
};

}  // namespace ktstr
