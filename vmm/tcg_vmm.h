// The Vmm interface on QEMU: at most one machine, and the servers that hand out authority over it.
#pragma once

#include <kj/async-io.h>

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/machine.capnp.h"
#include "vmm/engine.h"
#include "vmm/guest_memory.h"
#include "vmm/machine_check.h"
#include "vmm/qemu_probe.h"

namespace ktstr::vmm {

using Ranges = std::vector<GpaSpan>;

// State that the servers of vmm/machine_service.h and vmm/vmm_service.h share. Outlives all connections.
class TcgVmm {
 public:
  // With an Error in place of a QEMU every call on Vmm fails with it.
  TcgVmm(kj::AsyncIoContext& io, std::variant<QemuProgram, Error> qemu, Fd warden, EngineChannels channels);

  Engine& engine() { return engine_; }
  kj::Timer& timer() { return io_.provider->getTimer(); }
  const QemuProgram& qemu() const;  // throws the Error

  // Checks the machine, starts QEMU on it, then maps and seals its memory. `memories[i]` is what regions[i]
  // refers to. Throws Error "already-booted" from the second time on.
  kj::Promise<void> boot(rpc::PreparedMachine::Reader machine, const std::vector<const Fd*>& memories);

  // Resolves once a machine is booted or none will be any more.
  kj::Promise<void> booted() { return booted_.addBranch(); }

  struct Machine {
    CheckedMachine checked;
    Fd ram;
    GuestRam memory;
  };
  // Throws Error "no-machine" if it has not been booted or has ended.
  Machine& machine();

  unsigned imports = 0;  // memory objects held by the control connection
  // What the gate socket grants; nothing until it is published.
  Ranges published;
  // Runs to its end although nobody waits for it; failures are logged.
  void detach(kj::Promise<void> task);

 private:
  struct LogFailures : kj::TaskSet::ErrorHandler {
    void taskFailed(kj::Exception&& exception) override;
  };

  kj::AsyncIoContext& io_;
  std::variant<QemuProgram, Error> qemu_;
  Engine engine_;
  bool booting_ = false;
  std::optional<Machine> machine_;
  kj::PromiseFulfillerPair<void> bootedPair_ = kj::newPromiseAndFulfiller<void>();
  kj::ForkedPromise<void> booted_;
  LogFailures logFailures_;
  kj::TaskSet tasks_{logFailures_};
};

}  // namespace ktstr::vmm
