#include <algorithm>
#include <cstring>

#include "orchestrator/judge_group.h"
#include "orchestrator/relative.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

enum class Rule { atLeast, atMost, difference };

// A work group in one pass, and what the host did meanwhile.
struct PassSight {
  const GroupFigures& group;
  const std::vector<Starvation>& starved;
  uint64_t startNs;  // of the pass, the guest's clock

  double wallMs() const {
    uint64_t longest = 1;
    for (const auto& report : group.reports) longest = std::max(longest, report.getWallNs());
    return milliseconds(longest);
  }
  double lostShare() const { return std::min(0.999, hostLack(starved).lostMs / wallMs()); }
};

// How much of a figure the host explains.
double ofNothing(double, const PassSight&) {
  return 0;
}
double ofWork(double value, const PassSight& pass) {  // what was done was done in what it was given
  return -value * pass.lostShare() / (1 - pass.lostShare());
}
double ofDelays(double value, const PassSight& pass) {
  return value * pass.lostShare();
}
double ofShares(double, const PassSight& pass) {
  return 100 * pass.lostShare();
}
double ofTail(double value, const PassSight& pass) {  // less than a hundredth of the time is no p99
  return pass.lostShare() > 0.01 ? 1e3 * densestLack(pass.starved, value / 1e3).lostMs : 0;
}
double ofGap(double, const PassSight& pass) {
  const auto& reports = pass.group.reports;
  const auto shorter = [](const auto& a, const auto& b) { return a.getMaxGapNs() < b.getMaxGapNs(); };
  const auto longest = *std::max_element(reports.begin(), reports.end(), shorter);
  if (longest.getMaxGapAtNs() < pass.startNs) return hostLack(pass.starved).lostMs;
  const double end = milliseconds(longest.getMaxGapAtNs() - pass.startNs);
  const double from = end - milliseconds(longest.getMaxGapNs());
  return hostLack(pass.starved, {from - clockSlackMs, end + clockSlackMs}).lostMs;
}

// How a figure is compared with EEVDF's.
struct Comparison {
  const char* figure;  // as in BaselineFigure
  Limit Limits::*limit;
  const char* finding;
  Rule rule;
  const char* what;
  const char* unit;
  bool (*applies)(const GroupFigures&);
  double (*hosts)(double value, const PassSight& pass);
  double (*badness)(rpc::WorkerReport::Reader);  // of a worker: whose is highest is named
  const char* hint;
};

using Report = rpc::WorkerReport::Reader;

double slowness(Report report) {
  return -static_cast<double>(report.getIterations()) /
         static_cast<double>(std::max<uint64_t>(report.getWallNs(), 1));
}
double tail(Report report) {
  return static_cast<double>(p99WakeNs(report).value_or(0));
}
double delay(Report report) {
  return static_cast<double>(report.getRunDelayNs()) /
         static_cast<double>(std::max<uint64_t>(report.getTimeslices(), 1));
}
double gap(Report report) {
  return static_cast<double>(report.getMaxGapNs());
}
double restlessness(Report report) {
  return static_cast<double>(report.getMigrations()) /
         static_cast<double>(std::max<uint64_t>(report.getIterations(), 1));
}
double poverty(Report report) {
  return -cpuSharePct(report).value_or(0);
}

bool always(const GroupFigures&) {
  return true;
}
bool wakes(const GroupFigures& group) {
  return group.hasWakeLatency;
}
bool several(const GroupFigures& group) {
  return group.declared >= 2;
}

constexpr Comparison comparisons[] = {
    {"iterationsPerSecond", &Limits::minThroughputRatio, "relative-throughput", Rule::atLeast, "throughput",
     " iterations/s", always, ofWork, slowness,
     "less work gets done than under EEVDF: look at idle CPUs beside waiting tasks, and at short slices"},
    {"p99WakeLatencyUs", &Limits::maxP99WakeLatencyRatio, "relative-wake-latency", Rule::atMost,
     "p99 wake latency", " us", wakes, ofTail, tail,
     "woken tasks wait longer than under EEVDF: look at select_cpu and at preemption"},
    {"meanRunDelayUs", &Limits::maxMeanRunDelayRatio, "relative-run-delay", Rule::atMost, "mean run delay",
     " us", always, ofDelays, delay,
     "runnable tasks wait longer than under EEVDF: look at slices and at the order of dispatch"},
    {"maxGapMs", &Limits::maxGapRatio, "relative-gap", Rule::atMost, "longest gap", " ms", always, ofGap, gap,
     "a task waited longer than under EEVDF: look at what ran on its CPUs at that time in samples.jsonl"},
    {"migrationRatio", &Limits::maxMigrationRatioRatio, "relative-migrations", Rule::atMost,
     "migrations per iteration", "", always, ofNothing, restlessness,
     "tasks change CPU more often than under EEVDF: look at select_cpu and at shared DSQs"},
    {"spreadPct", &Limits::maxSpreadDifferencePct, "relative-spread", Rule::difference, "spread", " points",
     several, ofShares, poverty,
     "equal workers get less equal shares of a CPU than under EEVDF: look at how the scheduler charges time"},
};

double compared(Rule rule, double scheduler, double baseline) {
  return rule == Rule::difference ? scheduler - baseline : scheduler / baseline;
}

bool isBroken(Rule rule, double value, double limit) {
  return rule == Rule::atLeast ? value < limit : value > limit;
}

// A figure without what the host explains of it. That is never all: a twentieth is the guest's own.
double fed(const Comparison& how, double value, const PassSight& pass) {
  return std::max(value / 20, value - how.hosts(value, pass));
}

uint64_t baselineStartNs(const Evidence& evidence) {
  return evidence.baseline.empty() ? 0 : evidence.baseline.front().getAtNs();
}

std::string describe(const GroupCase& it, const Comparison& how, const RelativeFigure& figure, double value) {
  const std::string ratio = how.rule == Rule::difference ? text(formatNumber(value), " points more")
                                                         : text("a ratio of ", formatNumber(value));
  return text(how.what, " of ", it.groupName(), " is ", formatNumber(*figure.scheduler), how.unit, " under ",
              schedulerName(it.evidence), ", ", formatNumber(*figure.baseline), how.unit,
              " under EEVDF: ", ratio, ", ", it.limitText(how.limit));
}

// Who was worst off under the scheduler, and what it did in both passes.
void blameWorst(const GroupCase& it, const Comparison& how, const RelativeFigure& figure, Finding& finding) {
  const auto& reports = figure.group->reports;
  const auto better = [&](Report a, Report b) { return how.badness(a) < how.badness(b); };
  const Report worst = *std::max_element(reports.begin(), reports.end(), better);
  finding.worker = workerName(worst);
  finding.evidence =
      text("under ", schedulerName(it.evidence), ' ', traceOf(worst, it.story.scenarioStartNs));
  for (const Report report : figure.baselineGroup->reports) {
    if (report.getIndex() == worst.getIndex())
      finding.evidence += "\nunder EEVDF " + traceOf(report, baselineStartNs(it.evidence));
  }
  finding.evidence = joinLines({finding.evidence, it.stepLasted()});
}

// A host that starves the scheduler's pass makes it look bad, one that starves EEVDF's makes it look good:
// what holds only because of either is neither a failure nor a pass.
void compare(const GroupCase& it, const Comparison& how, const RelativeFigure& figure) {
  const double limit = it.limit(how.limit).value(), ours = *figure.scheduler, eevdf = *figure.baseline;
  const MonitorEvidence& seen = it.evidence.monitor;
  const auto breaks = [&](double a, double b) { return isBroken(how.rule, compared(how.rule, a, b), limit); };
  const bool broken = breaks(ours, eevdf);
  const PassSight first{*figure.group, seen.starved, it.story.scenarioStartNs};
  const PassSight second{*figure.baselineGroup, seen.baselineStarved, baselineStartNs(it.evidence)};
  const bool asFed = broken ? breaks(fed(how, ours, first), eevdf) : breaks(ours, fed(how, eevdf, second));
  if (!broken && !asFed) return;
  const double value = compared(how.rule, ours, eevdf);
  Finding finding = it.about(how.finding, describe(it, how, figure, value), how.hint);
  blameWorst(it, how, figure, finding);
  if (broken != asFed) blameHost(finding, hostLack(broken ? seen.starved : seen.baselineStarved));
  it.broken(std::move(finding), value, how.limit);
}

void judgeFigure(const GroupCase& it, const Comparison& how, const RelativeFigure& figure) {
  const std::string whose = text(how.what, " of ", it.groupName());
  if (!figure.scheduler || !figure.baseline) {
    const std::string where = figure.scheduler ? "EEVDF" : schedulerName(it.evidence);
    return it.notJudged(how.limit, text(whose, " was not measured under ", where));
  }
  if (how.rule != Rule::difference && *figure.baseline == 0)
    return it.notJudged(how.limit, text(whose, " under EEVDF is 0: there is no ratio to it"));
  compare(it, how, figure);
}

// Whether the second pass can be compared with: else a finding says why not.
bool judgeBaseline(const Evidence& evidence, const std::vector<GroupFigures>& baseline, Findings& findings) {
  std::string why = evidence.baseline.empty() ? "it never began" : "";
  for (const auto& event : evidence.baseline) {
    if (event.isFailure() && why.empty()) why = cleanText(event.getFailure().getMessage().cStr());
  }
  for (const GroupFigures& group : baseline) {
    for (const Report report : group.reports) {
      if (why.empty() && report.getErrors() > 0)
        why = text("calls of ", workerName(report), " in cgroup \"", cleanText(group.cgroup), "\" failed");
    }
    const size_t got = group.reports.size();
    if (why.empty() && got != group.declared)
      why = text(got, " of ", group.declared, " workers of \"", group.work, "\" in cgroup \"", group.cgroup,
                 "\" reported");
  }
  if (why.empty()) return true;
  findings.add({"baseline-failed", Outcome::INCONCLUSIVE,
                "the second pass, under EEVDF, cannot be compared with: " + why,
                "see what the guest did last in events.jsonl: is the scenario possible under EEVDF?"});
  return false;
}

}  // namespace

void judgeRelative(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  if (!evidence.besideEevdf) return;
  const auto reports = workerReports(evidence.events), again = workerReports(evidence.baseline);
  const auto groups = groupReports(evidence.scenario, reports),
             baseline = groupReports(evidence.scenario, again);
  if (!judgeBaseline(evidence, baseline, findings)) return;
  const FrozenTimes frozen(evidence.scenario, evidence.events);
  for (const RelativeFigure& figure : relativeFigures(groups, baseline)) {
    for (const Comparison& how : comparisons) {
      if (std::strcmp(how.figure, figure.name) != 0 || !(evidence.limits.*how.limit).set) continue;
      if (!how.applies(*figure.group)) continue;
      judgeFigure({evidence, story, frozen, *figure.group, findings}, how, figure);
    }
  }
}

}  // namespace ktstr
