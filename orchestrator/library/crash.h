// A scheduler that was ended while it was tested, looked at once more (TestSpec::autoRepro).
#pragma once

#include <cstdint>
#include <string>

#include "orchestrator/library/context.h"

namespace ktstr {

// The finding that says so, "scheduler-exited" or "scheduler-stalled"; "" if none does, or the host is to
// blame.
std::string crashOf(const RunResult& run);

// How many snapshots of the scheduler's state are to lead up to it: what the scenario asks for, else as many
// as its length allows, at most 16.
uint32_t snapshotsBeforeCrash(rpc::Scenario::Reader scenario);

// Several lines: whether `again`, the same scenario with those snapshots, ended as `first` did; where both
// records are; and of one that ended so the snapshots on the way, the kernel's reason and backtrace, and how
// often the scheduler's BPF programs had run and for how long.
std::string describeCrash(const RunResult& first, const RunResult& again);

}  // namespace ktstr
