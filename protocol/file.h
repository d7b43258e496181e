// Files: made, measured, read and written whole.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "protocol/fd.h"

namespace ktstr {

// Opens with O_CLOEXEC added. Throws Error "open-failed" naming the path and errno.
Fd openFile(const std::string& path, int flags, mode_t mode = 0);

// A memfd of `size` zero bytes with MFD_CLOEXEC | MFD_ALLOW_SEALING. Throws Error "memfd-failed".
Fd makeMemfd(const char* name, uint64_t size);

// Size in bytes by fstat. Throws Error "stat-failed".
uint64_t fileSize(int fd);

// Everything from offset 0 to the end, at most `limit` bytes. Throws Error "read-failed", "file-too-large".
std::string readAll(int fd, size_t limit = size_t{1} << 30);
std::string readFile(const std::string& path, size_t limit = size_t{1} << 30);

// The file's content, or nothing if it does not exist or cannot be read.
std::optional<std::string> readFileIfThere(const std::string& path, size_t limit = size_t{1} << 20);

// Writes all of it, retrying on EINTR and short writes. Throws Error "write-failed" (ENOSPC: "disk-full").
void writeAll(int fd, std::span<const std::byte> bytes);
void writeAll(int fd, std::string_view bytes);

}  // namespace ktstr
