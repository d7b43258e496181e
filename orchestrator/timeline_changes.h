// When the machine changed: the guest's events that tell of it (stimuli), grouped.
//
// A stimulus lasts from when it began to when it had taken effect. Those that overlap are one change, and so
// are those less than `periodNs` apart, until the time between them adds up to ten periods. Waiting
// (sleepMs, waitPayload) changes nothing, nor does one operation of the many in a step that loops: of these
// only their number is kept.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

using Progress = capnp::List<rpc::GroupProgress>::Reader;

struct StimulusEvent {
  uint64_t fromNs = 0, toNs = 0;  // guest CLOCK_MONOTONIC; never before those of an earlier one's end
  rpc::GuestEvent::Reader event = {};
  double iterations = 0;  // that all workers of this run of the scenario had finished at toNs

  Progress before() const { return event.getBeganNs() == 0 ? event.getProgress() : event.getBefore(); }
};

struct Change {
  uint64_t fromNs = 0, toNs = 0;
  size_t first = 0, count = 0;  // stimuli
  size_t earliest = 0;          // the stimulus that began first
  uint64_t gapsNs = 0;          // between them
};

// What a step that loops did.
struct LoopOperations {
  uint32_t step = 0;
  uint64_t fromNs = 0, toNs = 0;
  uint32_t count = 0;
};

struct StimulusStory {
  // From scenarioStarted to scenarioEnded, of a second run from baselineStarted to done.
  std::vector<StimulusEvent> stimuli;
  std::vector<LoopOperations> loops;
  uint64_t lastEventNs = 0;
};

StimulusStory readStimuli(rpc::Scenario::Reader scenario, std::span<const rpc::GuestEvent::Reader> events);

// At most `limit`, for which the period is doubled as often as it takes.
std::vector<Change> groupStimuli(const std::vector<StimulusEvent>& stimuli, uint64_t periodNs, size_t limit);

// "stepStarted"
std::string stimulusKind(rpc::GuestEvent::Reader event);
// "run", "freezeCgroup a", "simple"; clean.
std::string stimulusDetail(rpc::Scenario::Reader scenario, rpc::GuestEvent::Reader event);

}  // namespace ktstr
