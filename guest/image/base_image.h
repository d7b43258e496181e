// The base image out of the cache, made if need be.
#pragma once

#include <cstdint>
#include <string>

#include "cache/store.h"
#include "guest/image/initramfs.h"

namespace ktstr {

struct CachedBase {
  Fd file;              // read-only; a multiple of 64 KiB
  uint64_t length = 0;  // of the archive itself
  std::string key;      // imageKey()
  bool built = false;   // by this call
};

// Entry of kind "base" by imageKey(), with the file "base" and the attribute "length". An alias by the stats
// of all files leads to it without reading them. Throws as buildImageBase() and cache/store.h.
CachedBase baseImage(const cache::Store& store, const ImageRequest& request);

}  // namespace ktstr
