// `ktstr run`: from options to a stored record and an exit code.
#pragma once

#include <capnp/message.h>

#include "orchestrator/options.h"
#include "protocol/error.h"
#include "protocol/record.capnp.h"
#include "protocol/sandbox.h"

namespace ktstr {

// Runs once, stores the record and fills `record` with it (also if storing failed: then its verdict says so).
// Throws Error for what stops a run before a machine exists: usage, a kernel that cannot be had, a missing
// tool. Locks this process down on its way: afterwards it can print and exit, and little else.
void runOnce(const RunOptions& options, rpc::RunRecord::Builder record);

// Everything the orchestrator may do once its children run and its files are open.
Sandbox orchestratorSandbox(int listener);

}  // namespace ktstr
