// The phases of a run, to be compared (orchestrator/timeline.h says what a phase is):
//
//   const PhaseResult frozen = ctx.last().phase("run: freezeCgroup a"), thawed =
//   ctx.last().phase("unfreezeCgroup a"); EXPECT_EQ(frozen.cgroup("a").iterations, 0u);
//   EXPECT_GT(thawed.cgroup("b").iterationsPerSecond, frozen.cgroup("b").iterationsPerSecond / 2);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/record.capnp.h"

namespace ktstr {

// What some workers did in a phase. A figure that could not be had is NaN, which compares as false.
struct PhaseWork {
  uint32_t workers = 0;
  uint64_t iterations = 0;
  double iterationsPerSecond = 0;
  double cpuShare = 0;    // CPUs' worth
  double runDelayMs = 0;  // per second, all together
};

class PhaseResult {
 public:
  // `phase` lives as long as this, and all that it gives.
  explicit PhaseResult(rpc::TimelinePhase::Reader phase) : phase_(phase) {}

  std::string name() const { return phase_.getName().cStr(); }
  std::string scheduler() const { return phase_.getScheduler().cStr(); }  // its ops name; "eevdf"
  double startMs() const { return phase_.getStartMs(); }                  // since the scenario's start
  double durationMs() const { return phase_.getDurationMs(); }
  rpc::TimelinePhase::Reader record() const { return phase_; }  // all of it, with what the monitor saw

  PhaseWork all() const;
  // Of the workers made for a cgroup. Throws Error "no-such-cgroup", naming those there are.
  PhaseWork cgroup(std::string_view name) const;

 private:
  rpc::TimelinePhase::Reader phase_;
};

std::vector<PhaseResult> phasesOf(rpc::RunRecord::Reader record);

// The one of this name, else the first that was begun by what is called so ("freezeCgroup a", "simple").
// Throws Error "no-such-phase", naming those there are.
PhaseResult phaseOf(rpc::RunRecord::Reader record, std::string_view name);

}  // namespace ktstr
