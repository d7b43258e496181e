#include "protocol/transport.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/machine.capnp.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

capnp::ReaderOptions receiveOptions(const ConnectionLimits& limits) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = limits.messageWords;
  return options;
}

// With close-on-exec and non-blocking already set KJ does no ioctl, which a sandbox forbids.
constexpr unsigned wrapFlags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                               kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                               kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;

void setNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
    throw errnoError("fcntl-failed", text("make descriptor ", fd, " non-blocking"));
  }
}

kj::Own<kj::AsyncCapabilityStream> wrapSocket(kj::LowLevelAsyncIoProvider& io, Fd socket) {
  setNonBlocking(socket.get());
  setCloseOnExec(socket.get(), true);
  return io.wrapUnixSocketFd(socket.release(), wrapFlags);
}

sockaddr_un addressOf(const std::string& path, const char* errorName) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw Error(ExitCode::usage, errorName,
                text("socket path ", path, " has ", path.size(), " bytes, 1 to ", sizeof address.sun_path - 1,
                     " are possible"),
                "use a directory with a shorter path");
  }
  memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Fd makeSocket(const char* errorName) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) throw errnoError(errorName, "make a socket");
  return socket;
}

// 0, or the errno of connect().
int tryConnect(int socket, const sockaddr_un& address) {
  int result;
  do {
    result = connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

// Whether `path` is a socket that nobody listens on any more.
bool isStale(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return errno == ENOENT;
  return S_ISSOCK(status.st_mode) && tryConnect(makeSocket("listen-failed").get(), address) == ECONNREFUSED;
}

// One listener and the connections made through it.
class Server final : private kj::TaskSet::ErrorHandler {
 public:
  Server(kj::AsyncIoContext& io, Fd listener, ListenOptions options, ConnectionLimits limits,
         std::function<capnp::Capability::Client(uid_t)> bootstrap, std::function<void()> gone)
      : io_(*io.lowLevelProvider),
        listener_(std::move(listener)),
        options_(std::move(options)),
        limits_(limits),
        bootstrap_(std::move(bootstrap)),
        gone_(std::move(gone)),
        observer_(io.unixEventPort, listener_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ),
        connections_(*this) {
    setNonBlocking(listener_.get());
  }

  kj::Promise<void> run() {
    for (;;) {
      Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        welcome(std::move(socket));
      } else if (errno == EAGAIN) {
        return observer_.whenBecomesReadable().then([this] { return run(); });
      } else if (errno != EINTR && errno != ECONNABORTED) {
        log::warn(text(options_.path, ": cannot accept a connection: ", strerror(errno)));
        return io_.getTimer().afterDelay(100 * kj::MILLISECONDS).then([this] { return run(); });
      }
    }
  }

 private:
  void welcome(Fd socket) {
    const uid_t uid = peerUid(socket.get());
    const auto& allowed = options_.allowedUids;
    if (uid != ownUid_ && std::find(allowed.begin(), allowed.end(), uid) == allowed.end()) {
      log::warn(text(options_.path, ": refused a connection from uid ", uid));
      return;
    }
    if (count_ == options_.maxConnections) {
      log::warn(text(options_.path, ": refused a connection beyond the limit of ", count_));
      return;
    }
    auto connection = kj::heap<Connection>(io_, std::move(socket), bootstrap_(uid), limits_);
    auto disconnected = connection->onDisconnect();
    ++count_;
    connections_.add(disconnected.attach(kj::mv(connection), kj::defer([this] { --count_; })).then([this] {
      if (gone_) gone_();
    }));
  }

  void taskFailed(kj::Exception&& exception) override {
    log::warn(text(options_.path, ": connection failed: ", exception.getDescription().cStr()));
  }

  kj::LowLevelAsyncIoProvider& io_;
  Fd listener_;
  ListenOptions options_;
  ConnectionLimits limits_;
  std::function<capnp::Capability::Client(uid_t)> bootstrap_;
  std::function<void()> gone_;
  const uid_t ownUid_ = geteuid();
  unsigned count_ = 0;
  kj::UnixEventPort::FdObserver observer_;
  kj::TaskSet connections_;
};

class FdServer final : public rpc::Fd::Server {
 public:
  explicit FdServer(Fd fd) : fd_(std::move(fd)) {}
  kj::Maybe<int> getFd() override { return fd_.get(); }

 private:
  Fd fd_;
};

}  // namespace

// The message stream is chosen by hand: what TwoPartyVatNetwork makes of a socket by itself loses descriptors
// of messages that arrive in pieces (Cap'n Proto 1.0 to 1.2, capnproto issue 2359). Both ends are "server":
// the side says only whether calls are answered before our own first one.
Connection::Connection(kj::LowLevelAsyncIoProvider& io, Fd socket, capnp::Capability::Client bootstrap,
                       ConnectionLimits limits)
    : stream_(wrapSocket(io, std::move(socket))),
      messages_(*stream_),
      network_(messages_, limits.fdsPerMessage, capnp::rpc::twoparty::Side::SERVER, receiveOptions(limits)),
      rpc_(capnp::makeRpcServer(network_, kj::mv(bootstrap))) {
  rpc_.setFlowLimit(limits.flowBytes / sizeof(capnp::word));
}

capnp::Capability::Client Connection::bootstrap() {
  capnp::MallocMessageBuilder message;
  auto peer = message.initRoot<capnp::rpc::twoparty::VatId>();
  peer.setSide(capnp::rpc::twoparty::Side::CLIENT);
  return rpc_.bootstrap(peer);
}

kj::Promise<void> Connection::onDisconnect() {
  return network_.onDisconnect();
}

Fd listenUnix(const ListenOptions& options) {
  const sockaddr_un address = addressOf(options.path, "listen-failed");
  Fd socket = makeSocket("listen-failed");
  fchmod(socket.get(), 0600);  // what bind() gives the file, until chmod() below
  const auto bindTo = [&] {
    return bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  };
  bool bound = bindTo();
  if (!bound && errno == EADDRINUSE) {
    if (!isStale(options.path, address)) {
      throw Error(ExitCode::infrastructure, "address-in-use",
                  options.path + " is in use by another process or is no socket",
                  "end that process or use another path");
    }
    unlink(options.path.c_str());
    bound = bindTo();
  }
  if (!bound) throw errnoError("listen-failed", "bind " + options.path);
  // Its starter may give the file to another user from bind() on; then chmod() is not ours to call.
  const bool asBound = options.mode == 0600;
  if ((!asBound && chmod(options.path.c_str(), options.mode) != 0) || listen(socket.get(), 16) != 0) {
    const int number = errno;
    unlink(options.path.c_str());
    throw errnoError("listen-failed", "listen on " + options.path, {}, number);
  }
  return socket;
}

Fd connectUnix(const std::string& path) {
  const sockaddr_un address = addressOf(path, "connect-failed");
  Fd socket = makeSocket("connect-failed");
  const int number = tryConnect(socket.get(), address);
  if (number != 0) {
    throw errnoError("connect-failed", "connect to " + path, "check that its process is running", number);
  }
  return socket;
}

kj::Promise<void> serve(kj::AsyncIoContext& io, Fd listener, ListenOptions options, ConnectionLimits limits,
                        std::function<capnp::Capability::Client(uid_t)> bootstrap,
                        std::function<void()> gone) {
  auto server = kj::heap<Server>(io, std::move(listener), std::move(options), limits, std::move(bootstrap),
                                 std::move(gone));
  auto running = kj::evalLater([&running = *server] { return running.run(); });
  return running.attach(kj::mv(server));
}

uid_t peerUid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw errnoError("peer-unknown", text("SO_PEERCRED of descriptor ", socket));
  }
  return peer.uid;
}

kj::Promise<Fd> takeFd(capnp::Capability::Client capability) {
  auto received = capability.getFd();
  return received
      .then([](kj::Maybe<int> fd) {
        KJ_IF_MAYBE (number, fd) {
          Fd copy(fcntl(*number, F_DUPFD_CLOEXEC, 3));
          if (!copy) throw errnoError("dup-failed", text("duplicate descriptor ", *number));
          return copy;
        }
        throw Error(ExitCode::infrastructure, "no-descriptor", "the peer sent no descriptor");
      })
      .attach(kj::mv(capability));
}

capnp::Capability::Client giveFd(Fd fd) {
  return kj::heap<FdServer>(std::move(fd));
}

void rethrowAsError(const kj::Exception& exception) {
  std::string_view what(exception.getDescription().begin(), exception.getDescription().size());
  for (const std::string_view prefix : {"remote exception: ", "std::exception: "}) {
    while (what.starts_with(prefix)) what.remove_prefix(prefix.size());
  }
  const size_t colon = what.find(": ");
  const std::string_view name = what.substr(0, colon);
  const bool named =
      colon != std::string_view::npos && colon > 0 &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
  if (named) {
    throw Error(ExitCode::infrastructure, std::string(name), std::string(what.substr(colon + 2)));
  }
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) {
    throw Error(ExitCode::infrastructure, "peer-disconnected", std::string(what));
  }
  throw Error(ExitCode::infrastructure, "call-failed", std::string(what));
}

}  // namespace ktstr
