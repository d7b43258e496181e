// A dump for people: one screen of what matters first, then everything.
#pragma once

#include <string>

#include "protocol/dump.capnp.h"

namespace ktstr {

// Lines, the last one with a newline:
//   snapshot early (operation), frozen for 1.05 ms
//   scheduler  qmap, enabled
//   exit       SCX_EXIT_ERROR_STALL: runnable task stall (kworker/0:1[8] failed to run for 5.2s)
//   dsqs       ...
// Empty DSQs are counted, not listed. `maps`: also their values.
std::string dumpAsText(rpc::Dump::Reader dump, bool maps = true);

// The DSQs alone.
std::string dsqsAsText(rpc::Dump::Reader dump);

}  // namespace ktstr
