// Writing archives in cpio "newc" format: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ktstr {

// Members appear in the order of the calls, owned by root, with time 0, so that equal input makes equal
// bytes. Paths are absolute in the guest; parents must be added first. `mode` is the permission bits alone.
class CpioWriter {
 public:
  void directory(std::string_view path, mode_t mode);
  void file(std::string_view path, mode_t mode, std::span<const std::byte> content);
  void symlink(std::string_view path, std::string_view target);
  void characterDevice(std::string_view path, mode_t mode, unsigned major, unsigned minor);

  // Adds the trailer and gives the archive away.
  std::vector<std::byte> finish();

 private:
  void member(std::string_view path, mode_t mode, std::span<const std::byte> content, unsigned major = 0,
              unsigned minor = 0);
  void write(std::string_view name, mode_t mode, std::span<const std::byte> content, unsigned major,
             unsigned minor, uint32_t inode);

  std::vector<std::byte> bytes_;
  uint32_t inode_ = 0;
};

}  // namespace ktstr
