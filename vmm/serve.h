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
  AcceptOptions options;  // all but what it hands out
  Fd socket;
};

struct Listeners {
  Listener control, observe, gate;

  std::vector<int> sockets() const;  // those that are listened on
};

// The sockets of the service manager, if there is one. Throws Error "activation-invalid".
Listeners takeListeners(const ServeOptions& options);

// Serves until the control connection is gone, then ends the machine.
void serveConnections(kj::AsyncIoContext& io, VmmState& vmm, ServeOptions options, Listeners listeners);

// main() of a VMM: starts the log as `name`, and turns what `run` throws into a message and an exit code.
int vmmMain(const char* name, int argc, char** argv, int (*run)(int argc, char** argv));

}  // namespace ktstr::vmm
