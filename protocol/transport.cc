#include "protocol/transport.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

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

kj::Own<kj::AsyncCapabilityStream> wrapSocket(kj::LowLevelAsyncIoProvider& io, Fd socket) {
  setNonBlocking(socket.get());
  setCloseOnExec(socket.get(), true);
  return io.wrapUnixSocketFd(socket.release(), wrapFlags);
}

// ConnectionLimits::answersFirst.
class AnswersFirst final : public capnp::MessageStream {
 public:
  explicit AnswersFirst(kj::AsyncCapabilityStream& stream) : messages_(stream) {}

  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
      kj::ArrayPtr<capnp::word> scratch) override {
    // If it failed reading will tell.
    return written_.addBranch().catch_([](kj::Exception&&) {}).then([this, fds, options, scratch] {
      return messages_.tryReadMessage(fds, options, scratch);
    });
  }
  kj::Promise<void> writeMessage(kj::ArrayPtr<const int> fds,
                                 kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override {
    written_ = messages_.writeMessage(fds, segments).fork();
    return written_.addBranch();
  }
  kj::Promise<void> writeMessages(
      kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> all) override {
    written_ = messages_.writeMessages(all).fork();
    return written_.addBranch();
  }
  kj::Maybe<int> getSendBufferSize() override { return messages_.getSendBufferSize(); }
  kj::Promise<void> end() override { return messages_.end(); }

 private:
  capnp::AsyncCapabilityMessageStream messages_;
  kj::ForkedPromise<void> written_ = kj::Promise<void>(kj::READY_NOW).fork();
};

kj::Own<capnp::MessageStream> messagesOn(kj::AsyncCapabilityStream& stream, const ConnectionLimits& limits) {
  if (limits.answersFirst) return kj::heap<AnswersFirst>(stream);
  return kj::heap<capnp::AsyncCapabilityMessageStream>(stream);
}

// One listener and the connections made through it.
class Server final : private kj::TaskSet::ErrorHandler {
 public:
  Server(kj::AsyncIoContext& io, Fd listener, AcceptOptions options)
      : io_(*io.lowLevelProvider),
        listener_(std::move(listener)),
        options_(std::move(options)),
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
        log::warn(text(options_.name, ": cannot accept a connection: ", strerror(errno)));
        return io_.getTimer().afterDelay(100 * kj::MILLISECONDS).then([this] { return run(); });
      }
    }
  }

 private:
  void welcome(Fd socket) {
    const uid_t uid = peerUid(socket.get());
    const auto& allowed = options_.allowedUids;
    if (uid != ownUid_ && std::find(allowed.begin(), allowed.end(), uid) == allowed.end()) {
      log::warn(text(options_.name, ": refused a connection from uid ", uid));
      return;
    }
    if (count_ == options_.maxConnections) {
      log::warn(text(options_.name, ": refused a connection beyond the limit of ", count_));
      return;
    }
    auto connection = kj::heap<Connection>(io_, std::move(socket), options_.bootstrap(uid), options_.limits);
    auto disconnected = connection->onDisconnect();
    ++count_;
    connections_.add(disconnected.attach(kj::mv(connection), kj::defer([this] { --count_; })).then([this] {
      if (options_.gone) options_.gone();
    }));
  }

  void taskFailed(kj::Exception&& exception) override {
    log::warn(text(options_.name, ": connection failed: ", exception.getDescription().cStr()));
  }

  kj::LowLevelAsyncIoProvider& io_;
  Fd listener_;
  AcceptOptions options_;
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
      messages_(messagesOn(*stream_, limits)),
      network_(*messages_, limits.fdsPerMessage, capnp::rpc::twoparty::Side::SERVER, receiveOptions(limits)),
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

uid_t peerUid(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw errnoError("peer-unknown", text("SO_PEERCRED of descriptor ", socket));
  }
  return peer.uid;
}

kj::Promise<void> serve(kj::AsyncIoContext& io, Fd listener, AcceptOptions options) {
  KJ_REQUIRE(options.bootstrap != nullptr, "nothing to hand out");
  auto server = kj::heap<Server>(io, std::move(listener), std::move(options));
  auto running = kj::evalLater([&running = *server] { return running.run(); });
  return running.attach(kj::mv(server));
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

}  // namespace ktstr
