#include <algorithm>
#include <set>

#include "guest/topology.h"
#include "orchestrator/judge_group.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

// While a step's workers ran, in ms since the start of the scenario.
struct StepTime {
  double fromMs = 0, toMs = 0;
};

std::optional<StepTime> timeOf(const Evidence& evidence, const GuestStory& story, uint32_t step) {
  std::optional<StepTime> time;
  for (const auto& event : evidence.events) {
    if (event.isStepStarted() && event.getStepStarted().getStep() == step) {
      time = StepTime{milliseconds(event.getAtNs() - story.scenarioStartNs), 0};
    }
  }
  if (!time) return std::nullopt;
  // Until the first of them was told to stop.
  std::optional<double> shortest;
  for (const auto& report : workerReports(evidence.events)) {
    if (report.getStep() != step) continue;
    shortest = std::min(shortest.value_or(1e12), milliseconds(report.getWallNs()));
  }
  time->toMs = time->fromMs + shortest.value_or(0);
  return time;
}

uint32_t cpusOnline(const Evidence& evidence) {
  for (const auto& event : evidence.events) {
    if (event.isReady()) return event.getReady().getCpusOnline();
  }
  return 0;
}

bool isBelow(const std::string& cgroup, const std::string& top) {
  return cgroup == top || cgroup.starts_with(top + "/");
}

// Whether something else than a scheduler of tasks keeps a group's workers from a CPU now and then: a
// bandwidth limit, an affinity they change themselves, a policy that is scheduled by time.
bool isHeldBackBy(rpc::CgroupDef::Reader cgroup, const GroupFigures& group) {
  if (!isBelow(group.cgroup, cgroup.getName())) return false;
  for (const auto work : cgroup.getWork()) {
    if (work.getPolicy().isDeadline()) return true;
  }
  return cgroup.getLimits().getCpuQuotaUs() > 0;
}

bool isHeldBack(rpc::Scenario::Reader scenario, const GroupFigures& group) {
  if (group.type == rpc::WorkType::AFFINITY_CHURN) return true;
  for (const auto cgroup : scenario.getBackdrop().getCgroups()) {
    if (isHeldBackBy(cgroup, group)) return true;
  }
  for (const auto cgroup : scenario.getSteps()[group.step].getCgroups()) {
    if (isHeldBackBy(cgroup, group)) return true;
  }
  return false;
}

// Workers of one step that always want to run and may run on one CPU, and all CPUs they may run on.
struct Claim {
  uint32_t workers = 0;
  std::set<uint32_t> cpus;
  std::vector<std::string> groups;  // "spin in cgroup "left""
};

Claim claimOn(const Evidence& evidence, uint32_t step, uint32_t cpu) {
  Claim claim;
  const auto reports = workerReports(evidence.events);
  for (const GroupFigures& group : groupReports(evidence.scenario, reports)) {
    if (group.step != step || !group.isCpuBound || isHeldBack(evidence.scenario, group)) continue;
    const uint32_t before = claim.workers;
    for (const auto& report : group.reports) {
      std::set<uint32_t> cpus(report.getCpuset().begin(), report.getCpuset().end());
      for (uint32_t each = 0; report.getCpuset().size() == 0 && each < cpusOnline(evidence); ++each)
        cpus.insert(each);
      if (!report.getExited().isClean() || cpus.count(cpu) == 0) continue;
      claim.workers += 1;
      claim.cpus.insert(cpus.begin(), cpus.end());
    }
    if (claim.workers > before)
      claim.groups.push_back(text(cleanText(group.work), " in cgroup \"", cleanText(group.cgroup), "\""));
  }
  return claim;
}

// How many samples of the run were surely taken while the step's workers ran.
double samplesWithin(const Sustained& run, const StepTime& step) {
  const double from = std::max(run.fromMs, step.fromMs), to = std::min(run.afterMs, step.toMs - clockSlackMs);
  if (to <= from) return 0;
  return run.run * (to - from) / (run.afterMs - run.fromMs);
}

Finding starvedCpu(const Evidence& evidence, const Sustained& run, const Claim& claim) {
  std::string groups;
  for (const std::string& each : claim.groups) groups += (groups.empty() ? "" : ", ") + each;
  Finding finding{
      "cpu-starved", Outcome::FAIL,
      text("CPU ", run.cpu, " got nothing to run under ", schedulerName(evidence), " in ", run.run,
           " consecutive samples, until ", formatMs(run.afterMs), " after the first (sample ",
           run.lastSequence, "), while up to ", formatNumber(run.value), " tasks waited; ", claim.workers,
           " workers that always want to run share CPU ", cpuList({claim.cpus.begin(), claim.cpus.end()}),
           ": ", groups),
      "the scheduler never chooses this CPU, never wakes it, or gives it nothing when it asks: look at "
      "select_cpu, at scx_bpf_kick_cpu() and at what dispatch consumes"};
  finding.cpu = run.cpu;
  finding.value = run.run;
  finding.limit = evidence.limits.sustainedSamples.value();
  return finding;
}

// It would have been starved, if nothing else took its work away.
Finding unjudgedCpu(const Evidence& evidence, const Sustained& run) {
  Finding finding = notJudged(
      evidence.limits, &Limits::notStarved,
      text("CPU ", run.cpu, " had nothing to run in ", run.run, " consecutive samples, until ",
           formatMs(run.afterMs), " after the first, while up to ", formatNumber(run.value),
           " tasks waited, in a step whose operations, or the backdrop's, may take CPUs or work away"));
  finding.cpu = run.cpu;
  return finding;
}

// Whether operations change what work there is, or where it may run.
bool changesWork(capnp::List<rpc::Op>::Reader ops) {
  for (const auto op : ops) {
    if (!op.isSleepMs() && !op.isSnapshot() && !op.isWatch() && !op.isWaitPayload() && !op.isWriteMap())
      return true;
  }
  return false;
}

}  // namespace

void judgeCpus(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const Limit& limit = evidence.limits.notStarved;
  if (!limit.yes()) return;
  const auto steps = evidence.scenario.getSteps();
  const bool changed = changesWork(evidence.scenario.getBackdrop().getOps());
  std::set<int32_t> named;
  for (uint32_t step = 0; step < steps.size(); ++step) {
    const auto time = timeOf(evidence, story, step);
    const bool judged = !changed && !changesWork(steps[step].getOps());
    if (!time || (!judged && !limit.asked())) continue;
    for (const Sustained& run : evidence.monitor.unused) {
      if (named.count(run.cpu) > 0 || samplesWithin(run, *time) < evidence.limits.sustainedSamples.value())
        continue;
      const Claim claim = claimOn(evidence, step, static_cast<uint32_t>(run.cpu));
      if (claim.workers == 0 || claim.workers < claim.cpus.size()) continue;
      named.insert(run.cpu);
      Finding finding = judged ? starvedCpu(evidence, run, claim) : unjudgedCpu(evidence, run);
      finding.step = cleanText(stepNameOf(evidence.scenario, step));
      findings.add(std::move(finding));
    }
  }
}

}  // namespace ktstr
