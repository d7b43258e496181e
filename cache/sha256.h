// SHA-256 of bytes and files, as lower-case hex.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ktstr::cache {

// A digest that is being fed.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  // 64 hex digits; the object must not be used afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256Hex(std::span<const std::byte> bytes);
std::string sha256Hex(std::string_view bytes);

// Of a file's content from offset 0 to its end; the file position is neither used nor moved.
// Throws Error "read-failed".
std::string sha256OfFile(int fd);

}  // namespace ktstr::cache
