#include "orchestrator/relative.h"

#include <limits>

namespace ktstr {

namespace {

// Failures that concern the run as a whole, whenever they are told.
bool ofTheRun(rpc::GuestFailureName failure) {
  return failure == rpc::GuestFailureName::TEARDOWN_INCOMPLETE ||
         failure == rpc::GuestFailureName::MAILBOX_FULL || failure == rpc::GuestFailureName::INTERNAL;
}

bool ofAPass(rpc::GuestEvent::Reader event) {
  switch (event.which()) {
    case rpc::GuestEvent::SCHEDULER_EXITED:
    case rpc::GuestEvent::SCHEDULER_LOG:
    case rpc::GuestEvent::SCHEDULER_DETACHED:
    case rpc::GuestEvent::DONE:
      return false;
    case rpc::GuestEvent::FAILURE:
      return !ofTheRun(event.getFailure().getName());
    default:
      return true;
  }
}

struct Figure {
  const char* name;
  std::optional<double> (*of)(const GroupFigures&);
};
constexpr Figure figures[] = {
    {"iterationsPerSecond", [](const GroupFigures& group) { return group.iterationsPerSecond; }},
    {"p99WakeLatencyUs", [](const GroupFigures& group) { return group.p99WakeLatencyUs; }},
    {"meanRunDelayUs", [](const GroupFigures& group) { return group.meanRunDelayUs; }},
    {"maxGapMs", [](const GroupFigures& group) { return group.maxGapMs; }},
    {"migrationRatio", [](const GroupFigures& group) { return group.migrationRatio; }},
    {"spreadPct", [](const GroupFigures& group) { return group.spreadPct; }},
};

}  // namespace

Passes splitPasses(std::span<const rpc::GuestEvent::Reader> events) {
  Passes passes;
  for (const auto& event : events) {
    const bool second = event.isBaselineStarted() || (!passes.baseline.empty() && ofAPass(event));
    (second ? passes.baseline : passes.scheduler).push_back(event);
  }
  return passes;
}

// Both list the declared groups first, in the scenario's order.
std::vector<RelativeFigure> relativeFigures(const std::vector<GroupFigures>& scheduler,
                                            const std::vector<GroupFigures>& baseline) {
  std::vector<RelativeFigure> all;
  for (size_t i = 0; i < scheduler.size() && i < baseline.size() && scheduler[i].type; ++i) {
    for (const Figure& figure : figures) {
      all.push_back(
          {&scheduler[i], &baseline[i], figure.name, figure.of(scheduler[i]), figure.of(baseline[i])});
    }
  }
  return all;
}

void writeBaseline(const std::vector<RelativeFigure>& all, rpc::RunRecord::Builder record) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  auto list = record.initBaseline(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setStep(all[i].group->stepName);
    list[i].setCgroup(all[i].group->cgroup);
    list[i].setWork(all[i].group->work);
    list[i].setName(all[i].name);
    list[i].setScheduler(all[i].scheduler.value_or(none));
    list[i].setBaseline(all[i].baseline.value_or(none));
  }
}

}  // namespace ktstr
