// The shell that both VMMs share: their sockets, and serving them.
#pragma once

#include <kj/async-io.h>

#include <string>
#include <vector>

#include "protocol/fd.h"
#include "protocol/transport.h"
#include "vmm/options.h"
#include "vmm/vmm.h"

namespace ktstr::vmm {

struct Listener {
  AcceptOptions options;
  Fd socket;
};

struct Listeners {
  Fd directory;  // locked
  Listener control, observe, gate;
  std::vector<std::string> files;  // control.sock, observe.sock, gate.sock; none without a directory

  std::vector<int> sockets() const;  // those that are listened on
};

// Makes options.directory ours for as long as this process, or one that has the descriptor from it, lives:
// what is there before the sockets are may then remove them, whoever dies when. Nothing without a directory.
// Throws Error "listen-failed", "address-in-use".
Listeners claimDirectory(const ServeOptions& options);
// Binds the three sockets, or takes those that the service manager has bound. Throws as listenUnix(), or
// Error "activation-invalid".
void listenIn(const ServeOptions& options, Listeners& listeners);

// Serves until the control connection is gone, then ends the machine.
void serveConnections(kj::AsyncIoContext& io, VmmState& vmm, ServeOptions options, Listeners listeners);

// main() of a VMM: starts the log as `name`, and turns what `run` throws into a message and an exit code.
int vmmMain(const char* name, int argc, char** argv, int (*run)(int argc, char** argv));

}  // namespace ktstr::vmm
