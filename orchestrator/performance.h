// Performance mode: a machine that has its CPUs, caches and memory to itself, so that tight limits mean
// something. Everything it does is read back; what cannot be had is an Error with its remedy, never left out
// in silence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/boot/machine.h"
#include "orchestrator/host_plan.h"
#include "orchestrator/huge_memory.h"
#include "orchestrator/options.h"
#include "protocol/machine.capnp.h"
#include "protocol/record.capnp.h"

namespace ktstr {

inline constexpr uint8_t vcpuPriority = 1, harnessPriority = 2;  // SCHED_FIFO
inline constexpr uint32_t haltPollNanos = 200'000;

// What is settled on before anything is started.
struct PerformancePlan {
  std::optional<HostPlan> host;           // in performance mode
  std::optional<uint32_t> haltPollNanos;  // otherwise, unless switched off: 0 if vCPUs exceed CPUs
};

// Checks the options against the host. Throws Error "performance-mode-conflict", "host-too-small",
// "hugepages-too-few", "realtime-throttled".
PerformancePlan planPerformance(const RunOptions& options, uint64_t memoryBytes);

// What is left of it on the accelerator that was chosen, for the reason `why`. Throws Error
// "performance-mode-needs-kvm".
void fitAccelerator(PerformancePlan& plan, const std::string& accelerator, const std::string& why);

// The calling thread and all it starts: onto the service CPUs, under SCHED_FIFO above the vCPUs. Throws Error
// "pinning-refused", "realtime-refused".
void takeServicePlace(const HostPlan& plan);

// The guest nodes' memory on the host's.
std::vector<NodeMemory> memoryPlacement(const PreparedRam& prepared, const HostPlan& plan);

void writePlacement(const PerformancePlan& plan, rpc::Placement::Builder placement);
// What was done, for the record.
void writePerformance(const RunOptions& options, const PerformancePlan& plan,
                      rpc::PerformanceFacts::Builder facts);

}  // namespace ktstr
