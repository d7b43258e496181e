// When the host takes the snapshots of a series (Scenario.snapshots).
//
// The scenario's length d is what it plans: the holds and sleeps of its steps, one after another. Its first
// and last tenth are left alone, the rest is divided evenly: of n snapshots number i, from 0, is due at
//   d/10 + (d - 2 * (d/10)) * (i + 1) / (n + 1)
// which of one is the middle, of three 30, 50 and 70 %.
#pragma once

#include <cstdint>
#include <vector>

#include "protocol/scenario.capnp.h"

namespace ktstr {

inline constexpr uint32_t maxSnapshots = 64;
inline constexpr uint32_t snapshotSpacingMs = 100;  // at least

uint64_t plannedMs(rpc::Scenario::Reader scenario);

// In ns of the scenario's own time (orchestrator/periodic.h), ascending; empty if it asks for none.
std::vector<uint64_t> snapshotTimes(rpc::Scenario::Reader scenario);

// Throws Error "scenario-invalid" for more than there may be, or too close to each other. The steps must be
// valid.
void checkSnapshots(rpc::Scenario::Reader scenario);

}  // namespace ktstr
