// How both VMMs are started.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "protocol/fd.h"

namespace ktstr::vmm {

struct ServeOptions {
  std::optional<Fd> control, observe, gate;               // connected sockets that were inherited ...
  bool activated = false;                                 // ... or listening ones, as sd_listen_fds(3) says
  std::vector<uid_t> controlUids, observeUids, gateUids;  // who may connect besides our own
  bool printSeccomp = false;
};

// `about` is what --help says of `program` first. Ends the process for --help (0), and with what is wrong for
// a command line that cannot be (ExitCode::usage). Throws Error "usage".
ServeOptions parseServeOptions(const char* program, const char* about, int argc, char** argv);

}  // namespace ktstr::vmm
