#include "orchestrator/timeline_changes.h"

#include <capnp/dynamic.h>

#include <algorithm>
#include <optional>

#include "guest/scenario/operations.h"
#include "orchestrator/console.h"
#include "orchestrator/stats.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Event = rpc::GuestEvent;

constexpr uint64_t longestInPeriods = 10;

std::optional<rpc::Op::Reader> operation(rpc::Scenario::Reader scenario, Event::OpApplied::Reader applied) {
  return operationAt(scenario, applied.getStep(), applied.getOp());
}

bool isStimulus(rpc::Scenario::Reader scenario, Event::Reader event) {
  switch (event.which()) {
    case Event::SCENARIO_STARTED:
    case Event::SCENARIO_ENDED:
    case Event::BASELINE_STARTED:
    case Event::DONE:
    case Event::STEP_STARTED:
    case Event::STEP_ENDED:
    case Event::SCHEDULER_ATTACHED:
    case Event::SCHEDULER_DETACHED:
    case Event::SCHEDULER_EXITED:
    case Event::PAYLOAD_STARTED:
    case Event::PAYLOAD_ENDED:
      return true;
    case Event::OP_APPLIED: {
      const auto op = operation(scenario, event.getOpApplied());
      return !op || !(op->isSleepMs() || op->isWaitPayload());
    }
    default:
      return false;
  }
}

bool loops(rpc::Scenario::Reader scenario, uint32_t step) {
  return step < scenario.getSteps().size() && scenario.getSteps()[step].getHold().isLoop();
}

void addLoopOperation(std::vector<LoopOperations>& list, uint32_t step, uint64_t atNs) {
  if (list.empty() || list.back().step != step) list.push_back({step, atNs, atNs, 0});
  list.back().toNs = atNs;
  list.back().count++;
}

// Name of the operation as the scenario writes it, and what it is about.
std::string describe(rpc::Op::Reader op) {
  const capnp::DynamicStruct::Reader message = op;
  std::string words;
  KJ_IF_MAYBE (field, message.which()) {
    words = field->getProto().getName().cStr();
  }
  const auto add = [&](capnp::Text::Reader word) {
    if (word.size() > 0) words += text(' ', word.cStr());
  };
  if (op.isRunPayload()) {
    add(op.getRunPayload().getName());
    return words;
  }
  KJ_IF_MAYBE (field, message.which()) {
    const auto value = message.get(*field);
    if (value.getType() == capnp::DynamicValue::TEXT) add(value.as<capnp::Text>());
    if (value.getType() == capnp::DynamicValue::LIST) {
      for (const auto word : value.as<capnp::DynamicList>()) add(word.as<capnp::Text>());
    }
    if (value.getType() != capnp::DynamicValue::STRUCT) return words;
    const auto group = value.as<capnp::DynamicStruct>();
    for (const auto member : group.getSchema().getFields()) {
      if (member.getType().isText()) add(group.get(member).as<capnp::Text>());
    }
  }
  return words;
}

double iterationsIn(Progress progress) {
  double sum = 0;
  for (const auto group : progress) sum += static_cast<double>(group.getIterations());
  return sum;
}

// Whether the timeline has begun and goes on. Between the scenario's end and the baseline's start nobody
// works.
bool isWithin(Event::Reader event, const StimulusStory& story) {
  if (story.stimuli.empty()) return event.isScenarioStarted();
  return !story.stimuli.back().event.isScenarioEnded() || event.isBaselineStarted();
}

}  // namespace

StimulusStory readStimuli(rpc::Scenario::Reader scenario, std::span<const Event::Reader> events) {
  StimulusStory story;
  double reported = 0;  // iterations of the workers that have ended
  for (const auto& event : events) {
    if (!isWithin(event, story)) continue;
    if (event.isBaselineStarted()) reported = 0;
    if (event.isWorker()) reported += static_cast<double>(event.getWorker().getIterations());
    const uint64_t earliest = story.stimuli.empty() ? 0 : story.stimuli.back().toNs;
    const uint64_t atNs = std::max(event.getAtNs(), earliest);
    story.lastEventNs = std::max(story.lastEventNs, atNs);
    if (!isStimulus(scenario, event)) continue;
    if (event.isOpApplied() && loops(scenario, event.getOpApplied().getStep())) {
      addLoopOperation(story.loops, event.getOpApplied().getStep(), atNs);
      continue;
    }
    uint64_t began = event.getBeganNs() == 0 ? atNs : event.getBeganNs();
    if (event.isBaselineStarted()) began = earliest;
    story.stimuli.push_back(
        {std::min(began, atNs), atNs, event, reported + iterationsIn(event.getProgress())});
  }
  return story;
}

std::vector<Change> groupStimuli(const std::vector<StimulusEvent>& stimuli, uint64_t periodNs, size_t limit) {
  std::vector<Change> changes;
  for (size_t i = 0; i < stimuli.size(); i++) {
    Change change{stimuli[i].fromNs, stimuli[i].toNs, i, 1, i, 0};
    const auto gapTo = [&](const Change& last) {
      return change.fromNs > last.toNs ? change.fromNs - last.toNs : 0;
    };
    const auto belongs = [&](const Change& last) {
      const uint64_t gap = gapTo(last);
      return gap == 0 || (gap < periodNs && last.gapsNs + gap < longestInPeriods * periodNs);
    };
    while (!changes.empty() && belongs(changes.back())) {
      const Change& last = changes.back();
      change.gapsNs += last.gapsNs + gapTo(last);
      if (last.fromNs < change.fromNs) {
        change.fromNs = last.fromNs;
        change.earliest = last.earliest;
      }
      change.first = last.first;
      change.count += last.count;
      changes.pop_back();
    }
    changes.push_back(change);
  }
  constexpr uint64_t longest = uint64_t{1} << 59;
  return changes.size() <= limit || periodNs > longest ? changes : groupStimuli(stimuli, periodNs * 2, limit);
}

std::string stimulusKind(Event::Reader event) {
  const capnp::DynamicStruct::Reader message = event;
  KJ_IF_MAYBE (field, message.which()) {
    return field->getProto().getName().cStr();
  }
  return "unknown";
}

std::string stimulusDetail(rpc::Scenario::Reader scenario, Event::Reader event) {
  switch (event.which()) {
    case Event::STEP_STARTED:
      return stepNameOf(scenario, event.getStepStarted().getStep());
    case Event::STEP_ENDED:
      return stepNameOf(scenario, event.getStepEnded().getStep());
    case Event::OP_APPLIED:
      if (const auto op = operation(scenario, event.getOpApplied())) return describe(*op);
      return cleanText(event.getOpApplied().getDetail().cStr());
    case Event::SCHEDULER_ATTACHED:
      return cleanText(event.getSchedulerAttached().getOpsName().cStr());
    case Event::SCHEDULER_EXITED: {
      const auto exited = event.getSchedulerExited();
      return exited.getSignal() != 0 ? text("signal ", exited.getSignal())
                                     : text("exit code ", exited.getExitCode());
    }
    case Event::SCHEDULER_DETACHED:
      return cleanText(event.getSchedulerDetached().getOpsName().cStr());
    case Event::PAYLOAD_STARTED:
      return cleanText(event.getPayloadStarted().getName().cStr());
    case Event::PAYLOAD_ENDED:
      return cleanText(event.getPayloadEnded().getName().cStr());
    default:
      return "";
  }
}

}  // namespace ktstr
