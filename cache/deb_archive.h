// Reading a Debian package: an ar archive whose member data.tar.* (xz, zstd, gzip or none) has the files.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace ktstr::cache {

using Sink = std::function<void(std::span<const std::byte>)>;

// Reads the package open at `fd` from its start. `sinkFor` is asked for each regular file, by its path
// without a leading "./" or "/", and returns where its bytes go, in pieces, or an empty Sink to skip it. Ends
// early once `wanted` files have been read. Returns how many were. Throws Error "package-corrupt"
// (infrastructure) naming `name`, the member reached and what libarchive says.
size_t readDeb(int fd, const std::string& name, size_t wanted,
               const std::function<Sink(std::string_view path)>& sinkFor);

}  // namespace ktstr::cache
