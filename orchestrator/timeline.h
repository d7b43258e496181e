// The unified timeline: what the guest did, how its workers fared and what the monitor saw meanwhile, in
// phases. Pure: the same inputs give the same timeline.
//
// A phase lasts from when a change (timeline_changes.h) had taken effect to when the next one begins; at most
// maxPhases, for which changes that are closer together become one. The first is the one that the scenario's
// start began, the last one ends with the scenario, or with what the guest told last if that never ended. An
// operation after which the scenario ends at once, as where it makes a scheduler crash, has a phase of no
// length.
//
// Named after the step that began ("run"), else after the operations, or what else changed ("run:
// freezeCgroup a"), with ", ..." where more than three did; "after run" between steps; "baseline: run" in the
// second run. A name that comes again gets a number: "run: freezeCgroup a (2)".
//
// What its workers report in all is what they did in all phases (iterations) and changes (changeIterations),
// and what they did while a change ended them.
//
// A sample belongs to a phase if, by the bound of GuestClock, it was taken in it for certain.
#pragma once

#include <optional>
#include <span>

#include "orchestrator/guest_clock.h"
#include "orchestrator/timeline_samples.h"
#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

inline constexpr size_t maxPhases = 200;
inline constexpr size_t maxPhaseCgroups = 64;  // first by name; the others are counted
inline constexpr size_t maxPhaseStimuli = 16;

struct TimelineInput {
  rpc::Scenario::Reader scenario;
  std::span<const rpc::GuestEvent::Reader> events;  // in order
  std::span<const TimelineSample> samples;          // in order
  std::optional<ClockOffset> clock;                 // nothing: the samples have no place
  uint32_t periodMs = 100;                          // of the monitor
};

// Fills RunRecord.timeline.
void writeTimeline(const TimelineInput& input, rpc::RunRecord::Builder record);

}  // namespace ktstr
