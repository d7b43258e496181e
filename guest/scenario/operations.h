// Finding operations of a scenario.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/scenario.capnp.h"

namespace ktstr {

// Of a step or, with rpc::BACKDROP_STEP, the backdrop; none if there is no such step.
capnp::List<rpc::Op>::Reader operationsOf(rpc::Scenario::Reader scenario, uint32_t step);

// By its place in a step; nothing if there is none.
std::optional<rpc::Op::Reader> operationAt(rpc::Scenario::Reader scenario, uint32_t step, uint32_t op);

// How many values all operations writeMap write.
size_t countMapWrites(rpc::Scenario::Reader scenario);

}  // namespace ktstr
