// What a monitor that is to write in a run asks the orchestrator for: a gate for just those bytes.
#pragma once

#include <kj/async-io.h>

#include "orchestrator/machine_link.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class WriteGrantsServer final : public rpc::WriteGrants::Server {
 public:
  // For so many writes. `machine` outlives this object.
  WriteGrantsServer(MachineLink& machine, size_t writes) : machine_(machine), writes_(writes) {}

  // Error "grant-refused" for a second call, and for more than the writes can need.
  kj::Promise<void> grant(GrantContext context) override;

 private:
  MachineLink& machine_;
  size_t writes_;
  bool granted_ = false;
};

}  // namespace ktstr
