// Cap'n Proto over Unix stream sockets: who may connect, how much they may send, what happens when they go.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize-async.h>
#include <kj/async-io.h>
#include <kj/async-unix.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

struct ConnectionLimits {
  unsigned fdsPerMessage = 1;          // descriptors accepted with one message; surplus ones are closed
  size_t flowBytes = size_t{1} << 20;  // bytes of calls in flight before reading from the peer pauses
  uint64_t messageWords = uint64_t{1} << 20;  // largest message, in 8-byte words
  // For servers: while the peer does not read what it was sent, nothing more is read from it. Otherwise a
  // peer that calls and never reads fills our memory with answers. If both ends do it they can wait for each
  // other for ever.
  bool answersFirst = false;
};

// One connection, our end. `bootstrap` is the whole authority the peer gets. Lives until either side closes.
class Connection {
 public:
  // Takes over a connected stream socket.
  Connection(kj::LowLevelAsyncIoProvider& io, Fd socket, capnp::Capability::Client bootstrap,
             ConnectionLimits limits = {});
  // As a client: the peer's bootstrap object.
  capnp::Capability::Client bootstrap();
  // Resolves when the peer is gone, also after a protocol error of its.
  kj::Promise<void> onDisconnect();

 private:
  kj::Own<kj::AsyncCapabilityStream> stream_;
  kj::Own<capnp::MessageStream> messages_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

struct AcceptOptions {
  std::string name;                // of the socket, for the log
  std::vector<uid_t> allowedUids;  // by SO_PEERCRED, besides our own; others are closed at once and logged
  unsigned maxConnections = 16;    // further ones are closed at once and logged
  ConnectionLimits limits = {};
  std::function<capnp::Capability::Client(uid_t)> bootstrap = {};  // what a peer of that uid gets
  std::function<void()> gone = {};                                 // called after each disconnect
};

// Accepts on a listening socket for ever: checks the peer, makes a Connection, keeps it until it disconnects.
kj::Promise<void> serve(kj::AsyncIoContext& io, Fd listener, AcceptOptions options);

// Descriptor behind an Fd capability received from a peer, duplicated (the result is owned by the caller).
// Fails with Error "no-descriptor" if the peer sent none.
kj::Promise<Fd> takeFd(capnp::Capability::Client capability);

// The uid of the peer of a connected Unix socket. Throws Error "peer-unknown".
uid_t peerUid(int socket);

// An rpc::Fd capability that carries `fd` (taken over; closed when the last reference is dropped).
// Cap'n Proto notes the descriptor's number when a message is queued and sends it when the peer reads. A peer
// that releases the capability in between would be sent whatever has that number then (capnproto issue 2755).
// So keep a reference of your own for as long as the connection lives, and hand out the same one again if
// asked again.
capnp::Capability::Client giveFd(Fd fd);

}  // namespace ktstr
