// How long each part of a run may take.
#pragma once

#include <cstdint>

#include <optional>

#include "orchestrator/options.h"
#include "orchestrator/phases.h"
#include "protocol/error.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

// In ms. What takes longer ends the run, and is named in its verdict.
struct PhaseLimits {
  uint32_t machine = 15'000;    // the VMM maps memory and starts its engine
  uint32_t kernel = 60'000;     // first guest instruction to the agent's first event
  uint32_t scheduler = 15'000;  // scheduler start to attached
  uint32_t scenario = 15'000;   // all holds and what surrounds them, of each pass
  uint32_t collect = 10'000;    // its last step's end to the machine's end, or to the second pass
  uint32_t shutdown = 10'000;   // the guest's last word to the machine's end
};

// For this scenario: all that it holds, sleeps and waits for comes on top.
PhaseLimits phaseLimits(const RunOptions& options, rpc::Scenario::Reader scenario);

// Whether what came after the guest's last event took longer than RunOptions::cleanupBudgetMs: the phases
// "shutdown" and "wind down". The finding "cleanup-over-budget", or nothing.
std::optional<Error> overCleanupBudget(const RunOptions& options, const Phases& phases);

}  // namespace ktstr
