// Servers of the capabilities that a VMM hands out, from most to least authority.
#pragma once

#include <string>

#include "protocol/machine.capnp.h"
#include "vmm/vmm.h"

namespace ktstr::vmm {

// Bootstrap of the control socket: takes memory and a prepared machine, gives a Machine, whose destruction
// stops the machine.
rpc::Vmm::Client vmmServer(VmmState& vmm);

// Bootstrap of the observe socket, and what Machine.observer() gives: waits for boot on every call.
rpc::Observer::Client observerServer(VmmState& vmm);

// Bootstrap of the gate socket: writes inside what has been published, refuses everything until then.
// `holder` is for the log.
rpc::WriteGate::Client publishedGateServer(VmmState& vmm, const std::string& holder);

}  // namespace ktstr::vmm
