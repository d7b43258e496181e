// Bootstrap of the control socket: takes memory and a prepared machine, gives a Machine.
#pragma once

#include "protocol/machine.capnp.h"
#include "vmm/tcg_vmm.h"

namespace ktstr::vmm {

constexpr unsigned kMaxImports = 16;  // memory objects held at a time

rpc::Vmm::Client vmmServer(TcgVmm& vmm);

}  // namespace ktstr::vmm
