// What the record says about the host.
#pragma once

#include <string>

#include "protocol/record.capnp.h"

namespace ktstr {

// Fills kernel, CPU model, CPUs, memory and load. What cannot be read stays empty.
void readHostFacts(rpc::HostFacts::Builder facts);

}  // namespace ktstr
