// What must hold: the scenario's assertions with every choice made. This struct is the one table of defaults;
// they are the same in every build and on every accelerator.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/scenario.capnp.h"

namespace ktstr {

// Every comparison with a limit is strict: a value equal to its limit passes. An absent limit is not judged.
struct Limits {
  // A worker that never finished a unit of work was not scheduled at all, and a CPU that idled through
  // sustainedSamples while work waited for it was given none: no scheduler may do that.
  bool notStarved = true;

  // A cpuset is a promise of the kernel, so breaking it is always an error. Workers without a cpuset are not
  // judged.
  bool isolation = true;

  // Percentage points between the largest and the smallest share of wall time on CPU in one work group. The
  // default is for CPU-bound groups alone (spinWait, yieldHeavy; see cpuBound()): of workers that sleep the
  // share says nothing about fairness. 35 is what a static placement of uneven load still meets when it
  // rotates, and is above what an emulated machine on a loaded host shows by itself; a starving scheduler
  // shows 50 and more. Set by the scenario, it is judged for every group of at least two workers.
  double maxSpreadPct = 35;
  bool spreadForAllGroups = false;

  // Two seconds without progress are noticed by any user, and are far above a timeslice even on an emulated
  // machine.
  double maxGapMs = 2000;

  // No figure of these is right for every machine, so only the scenario sets them.
  std::optional<double> maxP99WakeLatencyUs;
  std::optional<double> minIterationsPerSecond;
  std::optional<double> maxMigrationRatio;

  // Cpusets and affinities make imbalance that no scheduler may repair: reported always, judged only if set.
  std::optional<double> maxImbalanceRatio;

  // Tasks in one CPU's local dispatch queue. They are bound to that CPU: 50 waiting there is a scheduler that
  // dispatches without looking. Judged only when a sched_ext scheduler runs.
  double maxLocalDsqDepth = 50;

  // A busy CPU ticks, and each tick updates its runqueue clock (kernel/sched/core.c sched_tick).
  bool failOnStall = true;

  // At the monitor's 100 ms period half a second: longer than a host hiccup, shorter than the sched_ext
  // watchdog.
  uint32_t sustainedSamples = 5;
};

// The defaults, with what the scenario sets put over them.
Limits mergeAssertions(rpc::Assertions::Reader assertions);

// Whether workers of this type want to run all the time.
bool cpuBound(rpc::WorkType::Reader type);

// Whether workers of this type measure wake latency.
bool measuresWakeLatency(rpc::WorkType::Reader type);

}  // namespace ktstr
