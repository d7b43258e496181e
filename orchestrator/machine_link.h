// The orchestrator's end of a VMM process: hands over a prepared machine and runs it.
#pragma once

#include <kj/async-io.h>

#include <functional>
#include <vector>

#include "guest/boot/machine.h"
#include "protocol/machine.capnp.h"
#include "protocol/process.h"
#include "protocol/transport.h"

namespace ktstr {

// What a guest may be told, in the preparer's terms.
std::vector<CpuidLeaf> offeredCpuid(rpc::VmmInfo::Reader info);

// Guest-physical, in bytes.
struct WriteRange {
  uint64_t gpa, size;
};

// A VMM and the control connection to it. Destruction ends the VM: the connection goes away and the VMM, if
// it is our child, is killed.
class MachineLink {
 public:
  // Starts `executable` with a control and an observe socket. `observe` receives our end of the latter, which
  // is for the monitor. `standardError` is the child's, -1 = ours.
  MachineLink(kj::LowLevelAsyncIoProvider& io, const std::string& executable, Fd& observe,
              int standardError = -1);

  // Takes a connection to one that stands by.
  MachineLink(kj::LowLevelAsyncIoProvider& io, Fd control);

  kj::Promise<rpc::VmmInfo::Reader> info();
  // Hands over the memory and boots. No guest instruction has run when it resolves. `prepared` must stay
  // alive until then; `base` is the shared initramfs base, -1 = none, and `place` says where on the host it
  // runs.
  kj::Promise<void> boot(const PreparedRam& prepared, int base,
                         const std::function<void(rpc::Placement::Builder)>& place = {});
  kj::Promise<Fd> console();
  kj::Promise<Fd> doorbell();
  // A gate that may write inside these ranges of RAM. `publish`: so may who comes to the VMM's gate socket.
  kj::Promise<rpc::WriteGate::Client> writeGate(const std::vector<WriteRange>& ranges, bool publish = false);
  kj::Promise<void> start();
  kj::Promise<void> stop();
  // The machine's end, however it came about; also resolves (engineKilled) when the VMM itself is gone.
  kj::Promise<void> wait(rpc::ExitReason::Builder exit);

  // Ends the VMM: our child within a second, one that stands by by going away. Nothing but child() may be
  // asked after it.
  void end();

  Child& child() { return child_; }  // none of one that stands by

 private:
  kj::Promise<void> give(rpc::MemoryKind kind, Fd fd);

  Child child_;
  kj::Own<Connection> connection_;
  rpc::Vmm::Client vmm_;
  rpc::Machine::Client machine_;
  kj::Maybe<capnp::Response<rpc::Vmm::InfoResults>> info_;
};

}  // namespace ktstr
