#include <algorithm>

#include "orchestrator/judge_group.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

void judgeCount(const GroupCase& it, bool explained) {
  const size_t got = it.group.reports.size();
  const uint32_t declared = it.group.declared;
  Finding finding;
  if (!it.group.type || got > declared) {
    finding = it.about("guest-corrupt",
                       text(got, " workers reported as ", it.groupName(), ", the scenario has ", declared),
                       "the guest reports what it was not asked to run: nothing it reported can be believed",
                       Outcome::INCONCLUSIVE);
  } else if (got < declared && !explained) {
    finding = it.about("worker-report-missing",
                       text("only ", got, " of ", declared, " workers of ", it.groupName(), " reported"),
                       "see events.jsonl for what the guest did last; the missing workers were not judged",
                       Outcome::INCONCLUSIVE);
  } else {
    return;
  }
  finding.value = static_cast<double>(got);
  finding.limit = declared;
  it.findings.add(std::move(finding));
}

// Limits that only some work is measured for, which a scenario that sets them must have.
struct Measured {
  Limit Limits::*limit;
  bool (*by)(const GroupFigures&);
  const char* lack;
};
bool ofPages(const GroupFigures& group) {
  return group.hasPages;
}
bool ofWakeUps(const GroupFigures& group) {
  return group.hasWakeLatency;
}
bool ofSeveral(const GroupFigures& group) {
  return group.declared >= 2;
}
constexpr const char* noWakeUps = "none of the scenario's work measures wake latency";
constexpr const char* noPages = "none of the scenario's work reports where its pages are";
constexpr const char* noGroup = "none of the scenario's work groups has two workers";
constexpr Measured measured[] = {
    {&Limits::maxP99WakeLatencyUs, ofWakeUps, noWakeUps},
    {&Limits::maxWakeLatencyCv, ofWakeUps, noWakeUps},
    {&Limits::maxP99WakeLatencyRatio, ofWakeUps, noWakeUps},
    {&Limits::minPageLocality, ofPages, noPages},
    {&Limits::maxCrossNodeMigrationRatio, ofPages, noPages},
    {&Limits::maxSlowTierRatio, ofPages, noPages},
    {&Limits::maxThroughputCv, ofSeveral, noGroup},
    {&Limits::maxSpreadPct, ofSeveral, noGroup},
    {&Limits::maxSpreadDifferencePct, ofSeveral, noGroup},
};

void judgeMeasured(const Limits& limits, const std::vector<GroupFigures>& groups, Findings& findings) {
  for (const Measured& each : measured) {
    if ((limits.*each.limit).asked() && std::none_of(groups.begin(), groups.end(), each.by))
      findings.add(notJudged(limits, each.limit, each.lack));
  }
}

// A failure the agent told of a worker: evidence of the finding its report gave, or a finding of its own
// without one.
void judgeWorkerFailures(const GuestStory& story, std::span<const rpc::WorkerReport::Reader> reports,
                         Findings& findings) {
  for (const auto& failure : story.failures) {
    const bool stuck = failure.getName() == rpc::GuestFailureName::WORKER_STUCK;
    if (!stuck && failure.getName() != rpc::GuestFailureName::WORKER_CRASHED) continue;
    const std::string name = stuck ? "worker-stuck" : "worker-crashed";
    std::string message = cleanText(failure.getMessage().cStr());
    if (Finding* known = findings.find(name)) {
      if (known->evidence.size() < 4096) known->evidence += (known->evidence.empty() ? "" : "\n") + message;
      continue;
    }
    const auto judged = [&](rpc::WorkerReport::Reader report) {  // and found to be the host's doing
      return stuck && report.getExited().isStuck() && report.getCgroup() == failure.getCgroup() &&
             workerName(report) == failure.getWorker();
    };
    if (std::any_of(reports.begin(), reports.end(), judged)) continue;
    Finding finding{name, Outcome::FAIL,
                    message.empty() ? "a worker failed without details" : std::move(message),
                    "see console.log and events.jsonl of the run"};
    finding.cgroup = cleanText(failure.getCgroup().cStr());
    finding.worker = cleanText(failure.getWorker().cStr());
    findings.add(std::move(finding));
  }
}

}  // namespace

void judgeWorkers(const Evidence& evidence, const GuestStory& story, bool explained, Findings& findings) {
  const auto isWorkers = [](const auto& failure) {
    return failure.getName() == rpc::GuestFailureName::WORKER_CRASHED ||
           failure.getName() == rpc::GuestFailureName::WORKER_STUCK;
  };
  explained = explained || std::any_of(story.failures.begin(), story.failures.end(), isWorkers);
  const auto reports = workerReports(evidence.events);
  const auto groups = groupReports(evidence.scenario, reports);
  const FrozenTimes frozen(evidence.scenario, evidence.events);
  for (const GroupFigures& group : groups) {
    const GroupCase it{evidence, story, frozen, group, findings};
    judgeCount(it, explained);
    if (!group.type) continue;
    for (const auto& report : group.reports) judgeWorker(it, report);
    judgeGroup(it);
    judgePages(it);
  }
  judgeWorkerFailures(story, reports, findings);
  if (!explained) judgeMeasured(evidence.limits, groups, findings);
}

}  // namespace ktstr
