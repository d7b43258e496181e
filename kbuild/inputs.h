// What a build is made from: the kernel's BTF and its source package, both out of the cache.
#pragma once

#include <string>

#include "cache/store.h"

namespace ktstr::kbuild {

struct InputRequest {
  std::string kernel;   // specification as in cache/kernel.h
  std::string archive;  // a source archive to take instead of the kernel's package; may be empty
  std::string vmlinux;  // an ELF or BTF file to take instead of the kernel's; may be empty
};

struct Inputs {
  std::string kernel;         // release, or the path given instead
  std::string archive;        // path
  std::string archiveDigest;  // SHA-256, hex
  std::string btf;            // path: raw BTF, or an ELF file with .BTF
  std::string btfId;          // build id or SHA-256, hex
};

// Finds them; what is not cached is got by ktstr-cache, the only step of a build that touches the network.
// Must be called before the sandbox is locked down. Throws Error "cache-tool-failed" after ktstr-cache has
// said why, "source-unknown" for a kernel given as a path without an archive, "kernel-no-btf", those of
// cache/kernel.h, and "open-failed" for files given that are not there.
Inputs findInputs(const cache::Store& store, const InputRequest& request);

}  // namespace ktstr::kbuild
