// Unix stream sockets with a path.
#pragma once

#include <string>

#include "protocol/fd.h"

namespace ktstr {

// Binds and listens, in place of a socket file that is there: a caller who may not be alone makes sure first
// that nobody serves on it. Throws Error "listen-failed". The caller unlinks the path at its end.
Fd listenUnix(const std::string& path, unsigned mode);

// Connects. Throws Error "connect-failed" naming the path and errno.
Fd connectUnix(const std::string& path);

}  // namespace ktstr
