// A guest that stands still while it is looked at: a lease of the VMM's, and the vCPUs' registers meanwhile.
#pragma once

#include <kj/async-io.h>

#include <optional>
#include <string>
#include <vector>

#include "protocol/machine.capnp.h"

namespace ktstr {

class Freeze {
 public:
  struct VcpuRegisters {
    uint64_t rip, cr3;
  };

  // Waits for the vCPUs to stand still, at most half a second: then, and if the VMM refuses, failure() says
  // so, and the guest runs. Asks at once for the registers of the first `vcpus` vCPUs.
  Freeze(kj::AsyncIoContext& io, rpc::Observer::Client observer, uint32_t vcpus);

  const std::string& failure() const { return failure_; }  // empty: it stands still

  // Waits for the registers, at most 50 ms, then lets the guest run again. To be called once.
  void thaw();

  // After thaw(). For so long, in ns, it stood still; 0: it did not. A lease ends after a second whatever we
  // do: failure() says so then.
  uint64_t frozenNs() const { return frozenNs_; }
  // After thaw(). Of each vCPU; empty, and registersAbsent() says why, if the VMM did not tell all of them.
  const std::vector<VcpuRegisters>& registers() const { return registers_; }
  const std::string& registersAbsent() const { return registersAbsent_; }

 private:
  void askForRegisters(uint32_t vcpus);

  kj::AsyncIoContext& io_;
  rpc::Observer::Client observer_;
  kj::Maybe<rpc::FreezeLease::Client> lease_;
  kj::Promise<void> asking_ = kj::READY_NOW;
  std::string failure_, registersAbsent_;
  std::vector<VcpuRegisters> registers_;
  uint64_t sinceNs_ = 0, frozenNs_ = 0;
};

}  // namespace ktstr
