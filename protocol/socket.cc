#include "protocol/socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// A socket, and the address of `path` for it.
struct Endpoint {
  Fd socket;
  sockaddr_un address{};

  Endpoint(const std::string& path, const char* errorName) {
    if (path.empty() || path.size() >= sizeof address.sun_path) {
      throw Error(ExitCode::usage, errorName,
                  text("socket path ", path, " has ", path.size(), " bytes, 1 to ",
                       sizeof address.sun_path - 1, " are possible"),
                  "use a directory with a shorter path");
    }
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.data(), path.size());
    socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) throw errnoError(errorName, "make a socket");
  }
  const sockaddr* generic() const { return reinterpret_cast<const sockaddr*>(&address); }
};

void removeSocket(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path.c_str());
}

}  // namespace

Fd listenUnix(const std::string& path, unsigned mode) {
  Endpoint end(path, "listen-failed");
  removeSocket(path);
  fchmod(end.socket.get(), 0600);  // what bind() gives the file, until chmod() below
  if (bind(end.socket.get(), end.generic(), sizeof end.address) != 0) {
    throw errnoError("listen-failed", "bind " + path, "use another directory, or remove what is there");
  }
  // Its starter may give the file to another user from bind() on; then chmod() is not ours to call.
  if ((mode != 0600 && chmod(path.c_str(), mode) != 0) || listen(end.socket.get(), 16) != 0) {
    const int number = errno;
    unlink(path.c_str());
    throw errnoError("listen-failed", "listen on " + path, {}, number);
  }
  return std::move(end.socket);
}

Fd connectUnix(const std::string& path) {
  Endpoint end(path, "connect-failed");
  while (connect(end.socket.get(), end.generic(), sizeof end.address) != 0) {
    if (errno == EINTR) continue;
    throw errnoError("connect-failed", "connect to " + path, "check that its process is running");
  }
  return std::move(end.socket);
}

}  // namespace ktstr
