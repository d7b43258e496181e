// Canned scenarios: what schedulers are commonly tried with, in eight families, each made to the measure of a
// topology. They are scenario data like any other (protocol/scenario.capnp): what is printed can be changed
// and run.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest/scenario/build.h"
#include "guest/topology.h"

namespace ktstr {

// What a scenario is made for.
struct Shape {
  Topology topology;
  uint32_t durationMs = 2000;  // of the scenario, besides the time to settle
  uint32_t workers = 2;        // of a cgroup about which nothing else is said

  uint32_t cpus() const { return topology.vcpus(); }
  // Time to settle, and `ofDuration` of the duration.
  say::Hold settled(double ofDuration = 1.0) const;
  // A cgroup of `workers` spinners.
  say::Cgroup plain(const std::string& name, const say::Cpuset& cpuset = {}) const;
};

inline constexpr uint32_t settleMs = 500;

struct CannedScenario {
  const char* family;  // basic, cpuset, dynamic, stress, interaction, affinity, nested, performance
  const char* name;
  const char* description;
  uint32_t cpus, llcs, nodes;  // it needs at least so many; of nodes those with CPUs
  void (*fill)(const Shape& shape, say::Scenario& scenario);
};

// All of them, family by family.
const std::vector<CannedScenario>& cannedScenarios();
// Null if there is none of that name.
const CannedScenario* findCanned(std::string_view name);

// What it lacks on that topology: "needs 2 LLCs; the topology 1n1l2c1t has 1"; nothing if it fits.
std::optional<std::string> whyNot(const CannedScenario& canned, const Topology& topology);

// Throws Error "scenario-does-not-fit" (ExitCode::usage) with the reason.
void writeCanned(const CannedScenario& canned, const Shape& shape, rpc::Scenario::Builder to);

}  // namespace ktstr
