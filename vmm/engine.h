// What runs a machine: QEMU (vmm/tcg) or KVM (vmm/kvm), behind the servers that hand out authority over it.
#pragma once

#include <kj/async.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/fd.h"
#include "protocol/machine.capnp.h"
#include "vmm/machine_check.h"

namespace ktstr::vmm {

struct EngineEnd {
  rpc::ExitKind kind = rpc::ExitKind::ENGINE_FAILED;
  std::string detail;  // evidence
};

// Memory objects of a machine. base and mailbox may be absent.
struct MachineMemory {
  Fd ram, base, mailbox;
};

struct VcpuRegisters {
  uint64_t rip, cr3, lstar;
};

// One machine, from launch to its end. All calls on the thread of the event loop; calls on a machine that has
// not been launched or has ended fail by name ("no-machine" is the callers' business).
class Engine {
 public:
  virtual ~Engine() noexcept(false) = default;

  // Who it is and what it offers. Throws the Error for which it can run no machine at all.
  virtual void describe(rpc::VmmInfo::Builder info) const = 0;

  // Once. When it resolves the machine exists, has mapped its memory, and has not executed an instruction.
  // `ram` is all guest RAM mapped shared and writable, in linear order; it and `memory` outlive the machine.
  // Fails with "engine-failed" and the engine's last words.
  virtual kj::Promise<void> launch(const CheckedMachine& machine, const MachineMemory& memory,
                                   std::byte* ram) = 0;

  virtual kj::Promise<void> start() = 0;       // once, else "already-started"
  virtual kj::Promise<uint32_t> freeze() = 0;  // counted; resolves to the microseconds it took
  virtual kj::Promise<void> thaw() = 0;        // one per freeze that has resolved
  virtual void stop() = 0;                     // any number of times; ended() follows

  // Throws "not-frozen", "vcpu-invalid", or "not-supported-by-tcg".
  virtual VcpuRegisters registers(uint32_t vcpu) = 0;
  // Nanoseconds of host CPU time by vCPU. Throws "not-supported-by-tcg".
  virtual std::vector<uint64_t> vcpuTimes() = 0;

  // Resolves when nothing of the machine runs any more.
  virtual kj::Promise<void> ended() = 0;
  virtual bool hasEnded() const = 0;
  virtual const EngineEnd& end() const = 0;  // once ended

  // The host end of a serial port, once each; "stream-taken" after that.
  virtual Fd takeConsole() = 0;
  virtual Fd takeDoorbell() = 0;

 protected:
  // Moves a stream out; throws "stream-taken" naming it if it is gone.
  static Fd takeStream(Fd& stream, const char* name);
};

}  // namespace ktstr::vmm
