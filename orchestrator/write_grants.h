// What a monitor that is to write in a run asks the orchestrator for: a gate for just those bytes.
#pragma once

#include <kj/async-io.h>

#include "orchestrator/machine_link.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class WriteGrantsServer final : public rpc::WriteGrants::Server {
 public:
  // For so many writes of map values in the whole run and, with `watchdog`, the watchdog's words of up to 64
  // schedulers. `machine` outlives this object.
  WriteGrantsServer(MachineLink& machine, size_t writes, bool watchdog);

  // Error "grant-refused" for more, and for longer ranges, than all of these can need.
  kj::Promise<void> grant(GrantContext context) override;

 private:
  MachineLink& machine_;
  size_t rangesLeft_;
};

}  // namespace ktstr
