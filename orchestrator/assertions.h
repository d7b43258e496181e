// What must hold: every assertion of a scenario with the limit that it is judged by, and where that comes
// from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

using Origin = rpc::EffectiveLimit::Origin;

// A choice is 1 or 0. Every comparison is strict: a value equal to its limit passes.
struct Limit {
  std::optional<double> set;  // nothing: not judged
  Origin origin = Origin::DEFAULT;

  bool yes() const { return set.value_or(0) != 0; }
  double value() const { return set.value(); }
  bool asked() const { return set && origin != Origin::DEFAULT; }  // somebody wants to know it
};

// Spread is judged by default of workers that have run for at least so long. In less time one wait that the
// default of maxGapMs lets pass decides all of it, and a scheduler that turns workers around now and then has
// hardly done so.
inline constexpr double fairAfterMs = 2000;

// The defaults; they are the same in every build and on every accelerator. What has none is judged only if
// the scheduler or the test sets it: no figure of it is right for every machine.
struct Limits {
  // A worker that never finished a unit of work was not scheduled at all, and a CPU that idled through
  // sustainedSamples while work waited for it was given none: no scheduler may do that.
  Limit notStarved = {1};

  // A cpuset is a promise of the kernel, so breaking it is always an error. Workers without a cpuset are not
  // judged.
  Limit isolation = {1};

  // Percentage points between the largest and the smallest share of wall time on CPU in one work group. The
  // default is for CPU-bound groups alone (spinWait, yieldHeavy; see cpuBound()): of workers that sleep the
  // share says nothing about fairness. 35 is what a static placement of uneven load still meets when it
  // rotates, and is above what an emulated machine on a loaded host shows by itself; a starving scheduler
  // shows 50 and more. Asked for, it is judged for every group of at least two workers, however long they
  // ran.
  Limit maxSpreadPct = {35};

  // Two seconds without progress are noticed by any user, and are far above a timeslice even on an emulated
  // machine.
  Limit maxGapMs = {2000};

  Limit maxP99WakeLatencyUs, maxWakeLatencyCv;
  Limit minIterationsPerSecond, minWorkRate, maxThroughputCv;
  Limit maxMigrationRatio;
  Limit minPageLocality, maxCrossNodeMigrationRatio, maxSlowTierRatio;

  // Cpusets and affinities make imbalance that no scheduler may repair: reported always, judged only if set.
  Limit maxImbalanceRatio;

  // Tasks in one CPU's local dispatch queue. They are bound to that CPU: 50 waiting there is a scheduler that
  // dispatches without looking. The default is judged only when a sched_ext scheduler runs.
  Limit maxLocalDsqDepth = {50};

  // A busy CPU ticks, and each tick updates its runqueue clock (kernel/sched/core.c sched_tick).
  Limit failOnStall = {1};

  // At the monitor's 100 ms period half a second: longer than a host hiccup, shorter than the sched_ext
  // watchdog.
  Limit sustainedSamples = {5};

  Limit maxFallbackRate, maxKeepLastRate;

  // Against EEVDF on the same machine (struct Relative).
  Limit minThroughputRatio, maxP99WakeLatencyRatio, maxMeanRunDelayRatio, maxGapRatio, maxMigrationRatioRatio,
      maxSpreadDifferencePct;

  // Any of those.
  bool anyRelative() const;
};

// One row of the table of assertions: everything about them but the judging comes from it.
struct Assertion {
  const char* name;  // as in scenario.capnp; those of Relative begin with "relative."
  Limit Limits::*limit;
  double (*get)(rpc::Assertions::Reader);  // NaN: unset; a choice: 1 or 0
  const char* unit;                        // after a number: " ms"; "choice"
  double least, most;                      // what a limit may be; infinite: no bound, but finite
  const char* compares;                    // for people
};
const std::vector<Assertion>& assertionTable();
const Assertion& assertionOf(Limit Limits::*limit);

// The defaults, under what the scheduler's assertions set, under what the test's set; each by itself.
Limits mergeAssertions(rpc::Scenario::Reader scenario);

// Whether the run needs a second pass under EEVDF for its assertions.
bool hasRelative(rpc::Scenario::Reader scenario);

// Throws Error "scenario-invalid" that begins with the place, "assertions.relative.maxGapRatio: ...", for a
// limit that is infinite, negative or outside what the figure can be; and with `baseline` (the scenario is
// run a second time without its scheduler) or relative assertions "baseline-impossible" without a scheduler
// under test
// (`underScheduler`; nothing: not known yet), and for a scenario whose operations attach, detach or replace
// schedulers.
void checkAssertions(rpc::Scenario::Reader scenario, std::optional<bool> underScheduler, bool baseline);

// "limit 2000 ms by default", "limit 0.5 set by the test".
std::string describeLimit(const Limits& limits, Limit Limits::*limit);

// As RunRecord.limits: every assertion.
void writeLimits(const Limits& limits, rpc::RunRecord::Builder record);

// Whether workers of this type want to run all the time.
bool cpuBound(rpc::WorkType::Reader type);

// Whether workers of this type measure wake latency.
bool measuresWakeLatency(rpc::WorkType::Reader type);

}  // namespace ktstr
