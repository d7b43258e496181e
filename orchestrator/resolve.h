// From what the user named to what a machine is prepared from: scenario, kernel, scheduler, image, orders.
#pragma once

#include <capnp/message.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/kernel.h"
#include "guest/image/base_image.h"
#include "orchestrator/options.h"
#include "orchestrator/programs.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

inline constexpr size_t scenarioLimit = size_t{16} << 20;  // bytes of one that is read

// Reads the scenario (a file or "-"), applies the command line's duration and snapshots, and checks it
// against the topology. `underScheduler` as of validateScenario(). Throws Error "scenario-unreadable",
// "json-invalid", "scenario-invalid", "baseline-impossible". A file, - for standard input, or the name of a
// canned scenario, in that order.
void loadScenario(const RunOptions& options, rpc::Scenario::Builder scenario,
                  std::optional<bool> underScheduler = std::nullopt);

// Whether the scenario runs a second time, under EEVDF.
bool wantsBaseline(const RunOptions& options, rpc::Scenario::Reader scenario);

// The kernel's cache entry; runs `ktstr-cache get` if it is not there, with its progress on our stderr.
// Throws what that tool said as Error "kernel-unavailable".
cache::Entry resolveKernel(const cache::Store& store, const std::string& spec);

// The shared initramfs base with agent, busybox, the programs and included files with their libraries: from
// the cache, or built. Throws as includeFiles().
CachedBase resolveImage(const cache::Store& store, const Programs& programs, const GuestOptions& options);

// Flat GuestOrders message, a multiple of 8 bytes.
kj::Array<capnp::word> makeOrders(const RunOptions& options, rpc::Scenario::Reader scenario,
                                  const Programs& programs, const std::string& runId);

}  // namespace ktstr
