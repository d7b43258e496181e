// What the names and group sizes of the work types are (scenario.capnp WorkType).
#pragma once

#include <cstdint>
#include <string>

#include "protocol/scenario.capnp.h"

namespace ktstr {

// "spinWait", "futexPingPong", ...: the schema's member name. "unknown" for one of a later schema.
std::string workTypeName(rpc::WorkType::Reader type);

// Workers that belong together: 2 for the pair types, else 1. 0 for a type of a later schema.
uint32_t workGroupSize(rpc::WorkType::Reader type);

// WorkSpec.name, or the type's name where it is empty: how reports call the group.
std::string workName(rpc::WorkSpec::Reader work);

}  // namespace ktstr
