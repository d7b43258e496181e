// At most one machine, whatever engine runs it: the state behind the servers that hand out authority over it.
#pragma once

#include <kj/async-io.h>

#include <vector>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/machine.capnp.h"
#include "vmm/engine.h"
#include "vmm/guest_memory.h"
#include "vmm/machine_check.h"

namespace ktstr::vmm {

using Ranges = std::vector<GpaSpan>;

// State that the servers of vmm/service.h share. Outlives all connections.
class VmmState {
 public:
  VmmState(kj::AsyncIoContext& io, Engine& engine);

  Engine& engine() { return engine_; }
  kj::Timer& timer() { return io_.provider->getTimer(); }

  // Takes a memory object of the machine to be, in place of an earlier one of that kind. Throws Error
  // "memory-invalid", "already-booted".
  void give(rpc::MemoryKind kind, Fd object);
  // Checks the machine, maps its memory, launches the engine on it, and seals the memory. Throws Error
  // "already-booted" from the second time on.
  kj::Promise<void> boot(rpc::PreparedMachine::Reader machine);

  // Resolves once a machine is booted or none will be any more.
  kj::Promise<void> booted() { return booted_.addBranch(); }

  struct Machine {
    CheckedMachine checked;
    MachineMemory objects;
    GuestRam memory;
  };
  // Throws Error "no-machine" if it has not been booted or has ended.
  Machine& machine();

  // What the gate socket grants; nothing until it is published.
  Ranges published;
  unsigned gates = 0;  // made so far; each is logged by its number
  // Runs to its end although nobody waits for it; failures are logged.
  void detach(kj::Promise<void> task);

 private:
  void requireUnbooted() const;

  kj::AsyncIoContext& io_;
  Engine& engine_;
  MachineMemory given_;
  bool booting_ = false;
  kj::Maybe<kj::Own<Machine>> machine_;
  kj::PromiseFulfillerPair<void> bootedPair_ = kj::newPromiseAndFulfiller<void>();
  kj::ForkedPromise<void> booted_;
  kj::Promise<void> watching_ = nullptr;
};

}  // namespace ktstr::vmm
