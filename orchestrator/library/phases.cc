#include "orchestrator/library/phases.h"

#include "orchestrator/library/listed.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

PhaseWork workOf(rpc::PhaseFigures::Reader figures) {
  return {figures.getWorkers(), figures.getIterations(), figures.getIterationsPerSecond(),
          figures.getCpuShare(), figures.getRunDelayMs()};
}

bool wasBegunBy(rpc::TimelinePhase::Reader phase, std::string_view name) {
  for (const auto stimulus : phase.getStimuli()) {
    if (name == stimulus.getDetail().cStr()) return true;
  }
  return false;
}

}  // namespace

PhaseWork PhaseResult::all() const {
  return workOf(phase_.getAll());
}

PhaseWork PhaseResult::cgroup(std::string_view name) const {
  std::vector<std::string> names;
  for (const auto figures : phase_.getCgroups()) {
    if (name == figures.getCgroup().cStr()) return workOf(figures);
    names.emplace_back(figures.getCgroup().cStr());
  }
  throw Error(ExitCode::usage, "no-such-cgroup",
              text("no worker of cgroup \"", name, "\" in phase \"", this->name(), '"'), listed(names));
}

std::vector<PhaseResult> phasesOf(rpc::RunRecord::Reader record) {
  std::vector<PhaseResult> phases;
  for (const auto phase : record.getTimeline()) phases.emplace_back(phase);
  return phases;
}

PhaseResult phaseOf(rpc::RunRecord::Reader record, std::string_view name) {
  std::vector<std::string> names;
  for (const auto phase : record.getTimeline()) {
    if (name == phase.getName().cStr()) return PhaseResult(phase);
    names.emplace_back(phase.getName().cStr());
  }
  for (const auto phase : record.getTimeline()) {
    if (wasBegunBy(phase, name)) return PhaseResult(phase);
  }
  throw Error(ExitCode::usage, "no-such-phase", text("the run has no phase \"", name, '"'), listed(names));
}

}  // namespace ktstr
