// From what the user named to what a machine is prepared from: scenario, kernel, scheduler, image, orders.
#pragma once

#include <capnp/message.h>

#include <memory>
#include <string>

#include "cache/kernel.h"
#include "guest/image/base_image.h"
#include "orchestrator/options.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

// Reads the scenario (a file or "-"), applies the command line's duration and checks it against the topology.
// Throws Error "scenario-unreadable", "json-invalid", "scenario-invalid".
void loadScenario(const RunOptions& options, rpc::Scenario::Builder scenario);

// The kernel's cache entry; runs `ktstr-cache get` if it is not there, with its progress on our stderr.
// Throws what that tool said as Error "kernel-unavailable".
cache::Entry resolveKernel(const cache::Store& store, const std::string& spec);

struct Scheduler {
  std::string name;       // "eevdf" or the binary's base name
  std::string hostPath;   // empty for EEVDF
  std::string guestPath;  // /ktstr/bin/<name>
};

// A path; or a name: looked up in PATH, then among the kernel tree's schedulers, which `ktstr-kbuild` builds
// if need be. Throws Error "scheduler-not-found", and "sched-ext-unsupported" if the kernel cannot load one.
Scheduler resolveScheduler(const std::string& wanted, const cache::Entry& kernel);

// The shared initramfs base with agent, busybox and the scheduler with its libraries: from the cache, or
// built.
CachedBase resolveImage(const cache::Store& store, const Scheduler& scheduler);

// Flat GuestOrders message, a multiple of 8 bytes.
kj::Array<capnp::word> makeOrders(const RunOptions& options, rpc::Scenario::Reader scenario,
                                  const Scheduler& scheduler, const std::string& runId);

}  // namespace ktstr
