// Bootstrap of the control socket: takes memory and a prepared machine, gives a Machine.
#pragma once

#include "protocol/machine.capnp.h"
#include "vmm/vmm.h"

namespace ktstr::vmm {

rpc::Vmm::Client vmmServer(VmmState& vmm);

}  // namespace ktstr::vmm
