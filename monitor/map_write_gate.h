// Writes of BPF map values through the VMM's gate.
#pragma once

#include <kj/async-io.h>

#include <functional>

#include "monitor/map_write.h"
#include "protocol/machine.capnp.h"

namespace ktstr {

// Writes them all or none: after a refusal what was written before is put back. Throws Error "write-refused"
// with the gate's words.
void writeMaps(kj::WaitScope& scope, rpc::WriteGate::Client gate, const std::vector<PlannedMapWrite>& writes);

// What is at the place of a write now.
std::vector<std::byte> readBack(const GuestKernel& kernel, const PlannedMapWrite& write);

// Where the guest stands still while it is written to.
struct FrozenWriteAccess {
  kj::AsyncIoContext& io;
  rpc::Observer::Client observer;
  rpc::WriteGate::Client gate;
};
struct FrozenWrites {
  std::vector<PlannedMapWrite> made;  // as planned while the guest stood still
  std::vector<std::vector<std::byte>>
      after;  // read back before it went on; empty where that was not possible
  uint64_t frozenNs;
};

// As writeMaps(), while the guest stands still: it sees all of them or none, and no map is freed meanwhile.
// `plan` is called again then, and if it throws, or wants to write elsewhere than `planned`, for which the
// gate is, nothing is written. Throws what `plan` and writeMaps() throw, and Error "freeze-failed" (it could
// not be made to stand still), "map-moved", "freeze-lost" (it went on before all was written: some may be).
FrozenWrites writeMapsFrozen(FrozenWriteAccess access, const GuestKernel& kernel,
                             const std::vector<PlannedMapWrite>& planned,
                             const std::function<std::vector<PlannedMapWrite>()>& plan);

}  // namespace ktstr
