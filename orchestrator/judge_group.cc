#include "orchestrator/judge_group.h"

#include <algorithm>
#include <cmath>

#include "guest/scenario/validate.h"
#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using Report = rpc::WorkerReport::Reader;

// The first of those with the most of something.
template <typename Much>
Report most(const GroupCase& it, const Much& much) {
  const auto& reports = it.group.reports;
  return *std::max_element(reports.begin(), reports.end(),
                           [&](Report a, Report b) { return much(a) < much(b); });
}

// The default is for those that had the time to become fair; that it was over it says something all the same.
bool tooShortToBeFair(const GroupCase& it, double spread) {
  constexpr auto which = &Limits::maxSpreadPct;
  const double wallMs = milliseconds(most(it, [](Report report) { return report.getWallNs(); }).getWallNs());
  if (it.limit(which).asked() || wallMs >= fairAfterMs) return false;
  Finding remark =
      it.about("limit-not-judged",
               text("the spread of ", it.groupName(), " is ", formatNumber(spread), " points, over the ",
                    it.limitText(which), ", which is not judged of workers that ran for only ",
                    formatMs(wallMs), ": ", formatMs(fairAfterMs), " are needed"),
               "let the step hold longer, or ask for it: assertions.maxSpreadPct", Outcome::PASS);
  it.broken(std::move(remark), spread, which);
  return true;
}

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
  if (spread <= limit.value() || tooShortToBeFair(it, spread)) return;
  const Report least = most(it, [](Report report) { return -cpuSharePct(report).value_or(1e9); });
  const Report best = most(it, [](Report report) { return cpuSharePct(report).value_or(-1); });
  Finding finding = it.about(
      "worker-unfair",
      text(reports.size(), " equal workers ", it.groupName(), " got from ", formatNumber(*cpuSharePct(least)),
           " % (", workerName(least), ") to ", formatNumber(*cpuSharePct(best)), " % (", workerName(best),
           ") of a CPU under ", schedulerName(it.evidence), ": a spread of ", formatNumber(spread),
           " points, ", it.limitText(which)),
      text("they ran on CPUs ", cpuList(it.group.cpusSeen),
           "; set assertions.maxSpreadPct if this much is meant to be"));
  finding.worker = workerName(least);
  finding.evidence = joinLines({it.trace(least), it.trace(best), it.stepLasted()});
  const HostLack lack = it.lackInStep(milliseconds(least.getWallNs()));
  const double lostPct = 100 * lack.lostMs / milliseconds(least.getWallNs());
  if (spread - lostPct <= limit.value()) blameHost(finding, lack);
  it.broken(std::move(finding), spread, which);
}

// Who waited longest, by its own p99, and the longest wait of all.
void blameWorst(const GroupCase& it, Finding& finding) {
  const Report worst = most(it, [](Report report) { return p99WakeNs(report).value_or(0); });
  const Report longest = most(it, [](Report report) { return report.getMaxWakeNs(); });
  finding.worker = workerName(worst);
  std::vector<std::string> lines;
  if (const auto p99 = p99WakeNs(worst))
    lines.push_back(text("the worst is ", workerName(worst), ": p99 ",
                         formatNumber(static_cast<double>(*p99) / 1e3), " us over its ",
                         worst.getWakeSamples(), " wake-ups"));
  if (longest.getMaxWakeNs() > 0) {
    finding.cpu = static_cast<int32_t>(longest.getMaxWakeCpu());
    lines.push_back(text("the longest took ", formatMs(milliseconds(longest.getMaxWakeNs())), ": ",
                         workerName(longest), ", which then ran on CPU ", longest.getMaxWakeCpu(), " ",
                         momentOf(longest.getMaxWakeAtNs(), it.story.scenarioStartNs)));
  }
  lines.insert(lines.end(), {it.trace(worst), it.stepLasted()});
  finding.evidence = joinLines(lines);
}

// Wakes that waited for the host. Where it took less than a hundredth of the time that is no p99.
void weighTail(const GroupCase& it, double p99Ms, Finding& finding) {
  const double wallMs = milliseconds(most(it, [](Report report) { return report.getWallNs(); }).getWallNs());
  const HostLack all = it.lackInStep(wallMs), wait = it.lackInStep(p99Ms);
  if (all.lostMs > wallMs / 100 &&
      p99Ms - wait.lostMs <= it.limit(&Limits::maxP99WakeLatencyUs).value() / 1e3)
    blameHost(finding, wait);
}

void judgeWakeLatency(const GroupCase& it) {
  if (!it.group.hasWakeLatency || it.group.reports.empty()) return;
  constexpr auto p99 = &Limits::maxP99WakeLatencyUs, cv = &Limits::maxWakeLatencyCv;
  constexpr const char* hint =
      "the limit depends on the accelerator and on the host's load: compare with EEVDF on the same host "
      "(assertions.relative)";
  const std::string samples = text(" over ", it.group.wakeSamples, " wake-ups, ");
  const auto broken = [&](const char* name, const std::string& message, double value, Limit Limits::*which) {
    Finding finding = it.about(name, message + samples + it.limitText(which), hint);
    blameWorst(it, finding);
    if (which == p99) weighTail(it, value / 1e3, finding);
    it.broken(std::move(finding), value, which);
  };
  if (it.limit(p99).set && !it.group.p99WakeLatencyUs)
    it.notJudged(p99, "no worker of " + it.groupName() + " measured a wake-up");
  if (it.limit(p99).set && it.group.p99WakeLatencyUs.value_or(0) > it.limit(p99).value()) {
    const double value = *it.group.p99WakeLatencyUs;
    broken("wake-latency", text("p99 wake latency of ", it.groupName(), " is ", formatNumber(value), " us"),
           value, p99);
  }
  if (it.limit(cv).set && !it.group.wakeLatencyCv)
    it.notJudged(cv, "the workers of " + it.groupName() + " measured fewer than two wake-ups");
  if (it.limit(cv).set && it.group.wakeLatencyCv.value_or(0) > it.limit(cv).value()) {
    const double value = *it.group.wakeLatencyCv;
    broken("wake-latency-variation",
           text("wake latencies of ", it.groupName(), " vary by ", value, " times their mean"), value, cv);
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

std::string momentOf(uint64_t atNs, uint64_t startNs) {
  if (startNs == 0 || atNs < startNs) return "";
  return formatMs(milliseconds(atNs - startNs)) + " into the scenario";
}

std::optional<uint64_t> p99WakeNs(Report report) {
  WakeHistogram own;
  for (const auto bucket : report.getWakeLatency()) own[bucket.getUpperNs()] += bucket.getCount();
  return percentileNs(own, 0.99);
}

std::string traceOf(Report report, uint64_t startNs) {
  std::string line = text(workerName(report), ": ", report.getIterations(), " iterations in ",
                          formatMs(milliseconds(report.getWallNs())));
  if (report.getUsageValid()) line += text(", ", formatMs(milliseconds(report.getCpuNs())), " on a CPU");
  if (report.getRunDelayValid())
    line += text(", ", formatMs(milliseconds(report.getRunDelayNs())), " in wait for one, in ",
                 report.getTimeslices(), " timeslices");
  if (report.getUsageValid())
    line += text(", ", report.getVoluntarySwitches(), " voluntary and ", report.getInvoluntarySwitches(),
                 " involuntary switches");
  line += text(", ", report.getMigrations(), " changes of CPU, seen on CPUs ",
               cpuList(cpuNumbers(report.getCpusSeen())));
  if (report.getMaxGapNs() == 0) return line;
  const std::string when = momentOf(report.getMaxGapAtNs(), startNs);
  return line + text(", longest gap ", formatMs(milliseconds(report.getMaxGapNs())), ", until it ran on CPU ",
                     report.getMaxGapCpu(), when.empty() ? "" : " ", when);
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

Window GroupCase::stepTime() const {
  const auto since = [&](uint64_t atNs) { return milliseconds(atNs) - milliseconds(story.scenarioStartNs); };
  Window step;
  for (const auto& event : evidence.events) {
    if (event.isStepStarted() && event.getStepStarted().getStep() == group.step)
      step.fromMs = since(event.getAtNs());
    if (event.isStepEnded() && event.getStepEnded().getStep() == group.step)
      step.toMs = since(event.getAtNs());
  }
  return step;
}

std::string GroupCase::stepLasted() const {
  const Window time = stepTime();
  if (!std::isfinite(time.fromMs) || !std::isfinite(time.toMs)) return "";
  return text(cleanText(group.stepName), " lasted from ", formatMs(time.fromMs), " to ", formatMs(time.toMs),
              " of the scenario");
}

HostLack GroupCase::lackInStep(double waitMs) const {
  const Window step = stepTime();
  return densestLack(within(evidence.monitor.starved, {step.fromMs - clockSlackMs, step.toMs + clockSlackMs}),
                     waitMs);
}

void judgeGroup(const GroupCase& it) {
  judgeSpread(it);
  judgeWakeLatency(it);
  judgeThroughput(it);
  judgeMigrations(it);
}

}  // namespace ktstr
