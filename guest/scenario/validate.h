// Checks a scenario against a topology, and resolves its cpusets to CPU numbers. Both sides use it: the host
// before it boots anything, the guest before it believes its orders.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "guest/topology.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

inline constexpr uint32_t maxWorkers = 4096;          // and payloads, at any one time
inline constexpr uint32_t maxMilliseconds = 3600000;  // of a duration, a hold, a sleep

// Throws Error "scenario-invalid" (ExitCode::usage) for the first rule of scenario.capnp that is broken. The
// message begins with the place and says what there is instead:
//   steps[0].cgroups[1].cpuset.llc: LLC 7 does not exist; the topology 1n2l2c2t has LLCs 0-1
// The scenario is walked through as the guest will carry it out (walk.h). Besides the schema's own rules
// these are refused, because the kernel would refuse or silently change them, or because nothing could be
// told apart:
//   - tasks in a cgroup that has child cgroups (cgroup v2's "no internal processes" rule)
//   - a cpuset that is not inside the nearest ancestor's, or an affinity not inside the cgroup's cpuset
//   - operations on cgroups, payloads and schedulers that are not there at that point
//   - two work groups of one name in one cgroup of a step: their reports could not be told apart
//   - a deadline task that may not run on every CPU
//   - a loop whose second round would fail, or differ from the first
//   - a scenario without any worker: it could not show anything
// Assertions are the judge's business (orchestrator/assertions.h), not checked here.
// `underScheduler`: whether a scheduler under test is attached when the scenario starts; nothing: not known
// yet.
void validateScenario(rpc::Scenario::Reader scenario, const Topology& topology,
                      std::optional<bool> underScheduler = std::nullopt);

// CPUs of a spec, ascending; nothing for `inherit`. Throws Error "scenario-invalid" (message without place)
// if it names no CPU or one that does not exist.
std::optional<std::vector<uint32_t>> resolveCpuset(rpc::CpusetSpec::Reader spec, const Topology& topology);

// Fills orders.cpusets and orders.affinities. The scenario must be valid.
void resolvePlacement(rpc::Scenario::Reader scenario, const Topology& topology,
                      rpc::GuestOrders::Builder orders);

// A list of a message as a vector, in the message's order.
std::vector<uint32_t> cpuNumbers(capnp::List<uint32_t>::Reader list);

}  // namespace ktstr
