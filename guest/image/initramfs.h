// The guest's initramfs in two parts: a base shared by all runs of one set of binaries (LZ4, cached, mapped
// read-only into every guest) and a suffix of under 1 KiB per run.
//
// The base holds /init (the agent), /bin/busybox, /dev/console, mount points, the given files, every shared
// library they need, and as its last member /ktstr/complete, by which the agent knows that the archive was
// unpacked whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

struct ImageFile {
  std::string guestPath;  // absolute, no "." or ".." components, not below /ktstr except /ktstr/bin
  std::string hostPath;   // a regular file; keeps its execute permission
};

struct ImageRequest {
  std::string agent;             // host path of /init: a static executable
  std::string busybox;           // host path of /bin/busybox; "" = leave out
  std::vector<ImageFile> files;  // schedulers and other binaries; the libraries of ELF files are added
};

// Name of the base that buildImageBase() would make: 32 hex digits over the guest paths, modes and contents
// of every file that goes in, libraries included. Digests are remembered by (device, inode, size, mtime,
// ctime) within the process. Throws as buildImageBase() for files that cannot go in.
std::string imageKey(const ImageRequest& request);

struct ImageBase {
  Fd file;              // memfd; a multiple of 64 KiB, NUL padded
  uint64_t length = 0;  // of the archive itself: what the kernel is told
};

// Throws Error
//   "binary-missing"            a file does not exist or cannot be read
//   "binary-not-executable"     the agent, busybox or a file below a bin directory lacks execute permission
//   "binary-wrong-architecture" an ELF file that is not for x86-64
//   "binary-invalid"            a damaged ELF file
//   "library-missing"           names the library, who needs it, and where it was searched
//   "image-path-invalid"        a guest path against the rules above, or used twice
ImageBase buildImageBase(const ImageRequest& request);

// The archive that precedes the base: /ktstr/run with the run's id. Throws Error "image-path-invalid" above
// 512 bytes.
std::vector<std::byte> makeSuffix(std::string_view runId);

}  // namespace ktstr
