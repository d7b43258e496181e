// Writes of BPF map values through the VMM's gate.
#pragma once

#include <kj/async.h>

#include "monitor/map_write.h"
#include "protocol/machine.capnp.h"

namespace ktstr {

// Writes them all or none: after a refusal what was written before is put back. Throws Error "write-refused"
// with the gate's words.
void writeMaps(kj::WaitScope& scope, rpc::WriteGate::Client gate, const std::vector<PlannedMapWrite>& writes);

// What is at the place of a write now.
std::vector<std::byte> readBack(const GuestKernel& kernel, const PlannedMapWrite& write);

}  // namespace ktstr
