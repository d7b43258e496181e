#include "orchestrator/judge_group.h"

#include <algorithm>

#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

void judgeSpread(const GroupCase& it) {
  constexpr auto which = &Limits::maxSpreadPct;
  const Limit& limit = it.limit(which);
  if (it.stallIsNamed() || (!it.group.isCpuBound && !limit.asked()) || it.group.declared < 2) return;
  // Without the starved and the dead: they are named already.
  const auto told = [&](const auto& report) {
    return !endedClean(report) || (neverWorked(report) && it.limits().notStarved.yes());
  };
  const auto& reports = it.group.reports;
  if (std::any_of(reports.begin(), reports.end(), told)) return;
  if (!it.group.spreadPct) {
    if (limit.asked()) it.notJudged(which, "fewer than two workers of " + it.groupName() + " ran");
    return;
  }
  const double spread = *it.group.spreadPct;
  if (spread <= limit.value()) return;
  rpc::WorkerReport::Reader least = reports.front(), most = least;
  for (const auto& report : reports) {
    const auto share = cpuSharePct(report);
    if (!share) continue;
    if (*share < cpuSharePct(least).value_or(1e9)) least = report;
    if (*share > cpuSharePct(most).value_or(-1)) most = report;
  }
  Finding finding = it.about(
      "worker-unfair",
      text(reports.size(), " equal workers ", it.groupName(), " got from ", formatNumber(*cpuSharePct(least)),
           " % (", workerName(least), ") to ", formatNumber(*cpuSharePct(most)), " % (", workerName(most),
           ") of a CPU under ", schedulerName(it.evidence), ": a spread of ", formatNumber(spread),
           " points, ", it.limitText(which)),
      text("they ran on CPUs ", cpuList(it.group.cpusSeen),
           "; set assertions.maxSpreadPct if this much is meant to be"));
  finding.worker = workerName(least);
  const HostLack lack = it.lackInStep(milliseconds(least.getWallNs()));
  const double lostPct = 100 * lack.lostMs / milliseconds(least.getWallNs());
  if (spread - lostPct <= limit.value()) blameHost(finding, lack);
  it.broken(std::move(finding), spread, which);
}

void judgeWakeLatency(const GroupCase& it) {
  if (!it.group.hasWakeLatency || it.group.reports.empty()) return;
  constexpr auto p99 = &Limits::maxP99WakeLatencyUs, cv = &Limits::maxWakeLatencyCv;
  constexpr const char* hint =
      "the limit depends on the accelerator and on the host's load: compare with EEVDF on the same host "
      "(assertions.relative)";
  const std::string samples = text(" over ", it.group.wakeSamples, " wake-ups, ");
  if (it.limit(p99).set && !it.group.p99WakeLatencyUs)
    it.notJudged(p99, "no worker of " + it.groupName() + " measured a wake-up");
  if (it.limit(p99).set && it.group.p99WakeLatencyUs.value_or(0) > it.limit(p99).value()) {
    const double value = *it.group.p99WakeLatencyUs;
    it.broken(it.about("wake-latency",
                       text("p99 wake latency of ", it.groupName(), " is ", formatNumber(value), " us",
                            samples, it.limitText(p99)),
                       hint),
              value, p99);
  }
  if (it.limit(cv).set && !it.group.wakeLatencyCv)
    it.notJudged(cv, "the workers of " + it.groupName() + " measured fewer than two wake-ups");
  if (it.limit(cv).set && it.group.wakeLatencyCv.value_or(0) > it.limit(cv).value()) {
    const double value = *it.group.wakeLatencyCv;
    it.broken(it.about("wake-latency-variation",
                       text("wake latencies of ", it.groupName(), " vary by ", value, " times their mean",
                            samples, it.limitText(cv)),
                       hint),
              value, cv);
  }
}

void judgeThroughput(const GroupCase& it) {
  constexpr auto which = &Limits::maxThroughputCv;
  if (!it.limit(which).set || it.group.declared < 2 || it.group.reports.empty()) return;
  if (!it.group.throughputCv) {
    return it.notJudged(which,
                        "fewer than two workers of " + it.groupName() + " used CPU time, or none did work");
  }
  const double value = *it.group.throughputCv;
  if (value <= it.limit(which).value()) return;
  const auto slower = [](const auto& a, const auto& b) {
    return workRate(a).value_or(1e300) < workRate(b).value_or(1e300);
  };
  const auto least = *std::min_element(it.group.reports.begin(), it.group.reports.end(), slower);
  Finding finding =
      it.about("throughput-variation",
               text("work rates of ", it.group.reports.size(), " equal workers ", it.groupName(), " vary by ",
                    value, " times their mean, ", it.limitText(which), "; the slowest is ", workerName(least),
                    " with ", formatNumber(*workRate(least)), " units per CPU second"),
               "equal work that takes unequal CPU time shares caches, SMT siblings or locks unequally: look "
               "at where the "
               "workers ran");
  finding.worker = workerName(least);
  finding.evidence = text("they ran on CPUs ", cpuList(it.group.cpusSeen));
  const HostLack lack = it.lackInStep(milliseconds(least.getWallNs()));
  if (lack.explains(milliseconds(least.getCpuNs()))) blameHost(finding, lack);
  it.broken(std::move(finding), value, which);
}

void judgeMigrations(const GroupCase& it) {
  constexpr auto which = &Limits::maxMigrationRatio;
  if (!it.limit(which).set || it.group.reports.empty()) return;
  if (!it.group.migrationRatio) {
    if (!it.limits().notStarved.yes())  // else it is named
      it.notJudged(which, it.groupName() + " made no iteration");
    return;
  }
  const double value = *it.group.migrationRatio;
  if (value <= it.limit(which).value()) return;
  Finding finding = it.about("migration-ratio",
                             text(it.groupName(), " changed CPU ", it.group.migrations, " times in ",
                                  it.group.iterations, " iterations: ", value, ", ", it.limitText(which)),
                             "the scheduler moves tasks without need: look at select_cpu and at shared DSQs");
  finding.evidence = text("they ran on CPUs ", cpuList(it.group.cpusSeen));
  it.broken(std::move(finding), value, which);
}

}  // namespace

double milliseconds(uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e6;
}

std::string workerName(rpc::WorkerReport::Reader report) {
  return text(cleanText(report.getWork().cStr()), "[", report.getIndex(), "]");
}

bool endedClean(rpc::WorkerReport::Reader report) {
  return report.getExited().isClean();
}

bool neverWorked(rpc::WorkerReport::Reader report) {
  return endedClean(report) && report.getWorkUnits() == 0 && report.getIterations() == 0;
}

std::string GroupCase::place() const {
  return text("cgroup \"", cleanText(group.cgroup), "\" of ", cleanText(group.stepName));
}

std::string GroupCase::groupName() const {
  return text('"', cleanText(group.work), "\" in ", place());
}

Finding GroupCase::about(const char* name, std::string message, std::string hint, Outcome outcome) const {
  Finding finding{name, outcome, std::move(message), std::move(hint)};
  finding.step = cleanText(group.stepName);
  finding.cgroup = cleanText(group.cgroup);
  return finding;
}

Finding GroupCase::about(rpc::WorkerReport::Reader report, const char* name, const std::string& message,
                         std::string hint, Outcome outcome) const {
  const std::string worker = workerName(report);
  Finding finding = about(name, text(worker, " in ", place(), " ", message), std::move(hint), outcome);
  finding.worker = worker;
  return finding;
}

void GroupCase::broken(Finding finding, double value, Limit Limits::*which) const {
  finding.value = value;
  finding.limit = limit(which).value();
  findings.add(std::move(finding));
}

void GroupCase::notJudged(Limit Limits::*which, const std::string& why) const {
  Finding finding = ktstr::notJudged(evidence.limits, which, why);
  finding.step = cleanText(group.stepName);
  finding.cgroup = cleanText(group.cgroup);
  findings.add(std::move(finding));
}

uint64_t GroupCase::frozenNs(rpc::WorkerReport::Reader report, uint64_t lengthNs) const {
  const uint64_t end = report.getMaxGapAtNs();
  return frozen.frozenNs(report.getCgroup(), end - std::min(end, lengthNs), end);
}

HostLack GroupCase::lackInStep(double waitMs) const {
  const auto since = [&](uint64_t atNs) { return milliseconds(atNs) - milliseconds(story.scenarioStartNs); };
  Window step;
  for (const auto& event : evidence.events) {
    if (event.isStepStarted() && event.getStepStarted().getStep() == group.step)
      step.fromMs = since(event.getAtNs()) - clockSlackMs;
    if (event.isStepEnded() && event.getStepEnded().getStep() == group.step)
      step.toMs = since(event.getAtNs()) + clockSlackMs;
  }
  return densestLack(within(evidence.monitor.starved, step), waitMs);
}

void judgeGroup(const GroupCase& it) {
  judgeSpread(it);
  judgeWakeLatency(it);
  judgeThroughput(it);
  judgeMigrations(it);
}

}  // namespace ktstr
