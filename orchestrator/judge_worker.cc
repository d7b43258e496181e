#include <algorithm>
#include <cerrno>
#include <cstring>

#include "guest/scenario/validate.h"
#include "guest/topology.h"
#include "orchestrator/judge_group.h"
#include "orchestrator/judge_guest.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using Report = rpc::WorkerReport::Reader;

// "EPERM (Operation not permitted)"
std::string errnoText(uint32_t number) {
  const char* name = strerrorname_np(static_cast<int>(number));
  return name == nullptr ? text("errno ", number)
                         : text(name, " (", strerrordesc_np(static_cast<int>(number)), ')');
}

// Of a group that has lost a worker the others' calls may fail for that.
void judgeErrors(const GroupCase& it, Report report) {
  if (report.getErrors() == 0 || !std::all_of(it.group.reports.begin(), it.group.reports.end(), endedClean))
    return;
  const std::string call = cleanText(report.getLastErrorCall().cStr());
  const bool forbidden = report.getLastErrno() == EPERM || report.getLastErrno() == EACCES;
  Finding finding = it.about(
      report, "worker-call-failed",
      text("did not do what its type says: ", report.getErrors(),
           report.getErrors() == 1 ? " call" : " calls", " failed, the last one ", call, " with ",
           errnoText(report.getLastErrno())),
      forbidden ? "a worker with a uid of its own has no privileges: leave out uid, or take another work type"
                : "the kernel refused what the work type, or the custom function, needs: change the "
                  "scenario, or take another kernel");
  finding.value = static_cast<double>(report.getErrors());
  finding.evidence = it.trace(report);
  it.findings.add(std::move(finding));
}

// When the worker's longest gap ended, since the start of the scenario; nothing where the guest does not
// tell.
std::optional<double> gapEndMs(const GroupCase& it, Report report) {
  if (!it.story.scenarioStarted || report.getMaxGapAtNs() < it.story.scenarioStartNs) return std::nullopt;
  return milliseconds(report.getMaxGapAtNs() - it.story.scenarioStartNs);
}

HostLack lackInGap(const GroupCase& it, Report report) {
  Window window;
  if (const auto end = gapEndMs(it, report)) {
    window = {*end - milliseconds(report.getMaxGapNs()) - clockSlackMs, *end + clockSlackMs};
  }
  return hostLack(it.evidence.monitor.starved, window);
}

void judgeExit(const GroupCase& it, Report report) {
  const auto exited = report.getExited();
  const bool stuck = exited.isStuck();
  const std::string how = stuck ? std::string("did not stop when it was told to, and was killed")
                          : exited.isSignal()
                              ? text("was killed by ", signalName(static_cast<int>(exited.getSignal())))
                              : text("ended with exit code ", exited.getCode());
  const FailureKind kind =
      kindOf(stuck ? rpc::GuestFailureName::WORKER_STUCK : rpc::GuestFailureName::WORKER_CRASHED);
  Finding finding = it.about(report, kind.name, how, kind.hint);
  // It made no progress from its last checkpoint on, which its report has as its gap.
  const HostLack lack = lackInGap(it, report);
  if (stuck && report.getMaxGapNs() > 0 && lack.explains(milliseconds(report.getMaxGapNs())))
    blameHost(finding, lack);
  it.findings.add(std::move(finding));
}

// ", for the first time on CPU 3, 1250 ms into the scenario"
std::string firstSight(const GroupCase& it, Report report, const std::vector<uint32_t>& cpus) {
  const auto seen = report.getCpusSeen();
  const auto since = report.getFirstSeenNs();
  std::optional<unsigned> first;
  for (unsigned i = 0; i < std::min(seen.size(), since.size()); ++i) {
    if (!std::binary_search(cpus.begin(), cpus.end(), seen[i])) continue;
    if (!first || since[i] < since[*first]) first = i;
  }
  const std::string when = first ? momentOf(since[*first], it.story.scenarioStartNs) : "";
  return when.empty() ? "" : text(", for the first time on CPU ", seen[*first], ", ", when);
}

void judgeIsolation(const GroupCase& it, Report report) {
  constexpr auto which = &Limits::isolation;
  if (!it.limit(which).yes() || (!it.group.hasCpuset && report.getCpuset().size() == 0)) return;
  std::vector<uint32_t> allowed = cpuNumbers(report.getCpuset()), outside;
  std::sort(allowed.begin(), allowed.end());
  for (const uint32_t cpu : report.getCpusSeen()) {
    if (!std::binary_search(allowed.begin(), allowed.end(), cpu)) outside.push_back(cpu);
  }
  if (allowed.empty() || (report.getCpusSeen().size() == 0 && !neverWorked(report))) {
    it.findings.add(
        it.about(report, "worker-isolation",
                 "did not report its cpuset and the CPUs it ran on, so its isolation is not known",
                 "see events.jsonl for its report", Outcome::INCONCLUSIVE));
    return;
  }
  if (outside.empty()) return;
  std::sort(outside.begin(), outside.end());
  Finding finding = it.about(report, "worker-isolation",
                             text("ran on CPU ", cpuList(outside), ", outside its cpuset ", cpuList(allowed),
                                  firstSight(it, report, outside)),
                             "the scheduler ignores p->cpus_ptr when it picks a CPU or dispatches");
  finding.evidence = it.trace(report);
  finding.cpu = static_cast<int32_t>(outside.front());
  it.findings.add(std::move(finding));
}

// What the workers of a CPU-bound group that did work had of CPU time each, on average; nothing where none
// did.
std::optional<uint64_t> cpuNsOfEquals(const GroupCase& it) {
  uint64_t sum = 0, count = 0;
  for (const Report report : it.group.reports) {
    if (!it.group.isCpuBound || !report.getUsageValid() || neverWorked(report)) continue;
    sum += report.getCpuNs();
    ++count;
  }
  return count == 0 ? std::nullopt : std::optional(sum / count);
}

// One that had its part of the CPU time, as the guest counts it, was not starved by the scheduler. The guest
// counts what the host took from the vCPU meanwhile.
bool hadItsPart(const GroupCase& it, Report report) {
  const auto equals = cpuNsOfEquals(it);
  if (!equals || !report.getUsageValid() || report.getCpuNs() < *equals / 2) return false;
  it.notJudged(&Limits::notStarved,
               text(workerName(report), " in ", it.place(), " did not finish one unit of work in ",
                    formatMs(milliseconds(report.getWallNs())), ", but was on a CPU for ",
                    formatMs(milliseconds(report.getCpuNs())), " of it, those beside it that did work for ",
                    formatMs(milliseconds(*equals)),
                    ": either a unit is too long, or the host kept its vCPU from running"));
  return true;
}

void judgeStarved(const GroupCase& it, Report report) {
  if (it.frozenNs(report, report.getWallNs()) >= report.getWallNs() / 10 * 9) return;
  const HostLack lack = it.lackInStep(milliseconds(report.getWallNs()));
  const bool isHosts = lack.explains(milliseconds(report.getWallNs()));
  if (!isHosts && hadItsPart(it, report)) return;
  Finding finding =
      it.about(report, "worker-starved",
               text("did not finish one unit of work in ", formatMs(milliseconds(report.getWallNs())),
                    " under ", schedulerName(it.evidence)),
               "the scheduler never ran it, or hardly: check how it places and dispatches a new task");
  finding.value = 0;
  finding.evidence = joinLines({it.trace(report), it.stepLasted()});
  if (isHosts) blameHost(finding, lack);
  it.findings.add(std::move(finding));
}

void judgeGap(const GroupCase& it, Report report) {
  constexpr auto which = &Limits::maxGapMs;
  const double gapMs = milliseconds(report.getMaxGapNs() - it.frozenNs(report, report.getMaxGapNs()));
  if (gapMs <= it.limit(which).value()) return;
  std::string message = text("made no progress for ", formatMs(gapMs), " (", it.limitText(which),
                             "), until it ran on CPU ", report.getMaxGapCpu());
  if (const auto end = gapEndMs(it, report)) message += text(" ", formatMs(*end), " into the scenario");
  Finding finding =
      it.about(report, "worker-gap", message,
               "the task was runnable and got no CPU: look at what ran on its CPUs at that time "
               "in samples.jsonl");
  finding.evidence = it.trace(report);
  const HostLack lack = lackInGap(it, report);
  if (gapMs - lack.lostMs <= it.limit(which).value()) blameHost(finding, lack);
  finding.cpu = static_cast<int32_t>(report.getMaxGapCpu());
  it.broken(std::move(finding), gapMs, which);
}

void judgeIterationRate(const GroupCase& it, Report report) {
  constexpr auto which = &Limits::minIterationsPerSecond;
  if (!it.limit(which).set) return;
  const double seconds = milliseconds(report.getWallNs()) / 1e3, limit = it.limit(which).value();
  if (seconds == 0)
    return it.notJudged(which, workerName(report) + " in " + it.place() + " never began to work");
  const auto iterations = static_cast<double>(report.getIterations());
  const double rate = iterations / seconds;
  if (rate >= limit) return;
  Finding finding = it.about(
      report, "iteration-rate", text("made ", formatNumber(rate), " iterations/s, ", it.limitText(which)),
      "compare with EEVDF on the same host: the figure depends on the accelerator and on the host's load");
  finding.evidence = joinLines({it.trace(report), it.stepLasted()});
  const HostLack lack = it.lackInStep(milliseconds(report.getWallNs()));
  if (iterations >= limit * (seconds - lack.lostMs / 1e3)) blameHost(finding, lack);
  it.broken(std::move(finding), rate, which);
}

void judgeWorkRate(const GroupCase& it, Report report) {
  constexpr auto which = &Limits::minWorkRate;
  if (!it.limit(which).set) return;
  const auto rate = workRate(report);
  const double limit = it.limit(which).value();
  if (!rate) return it.notJudged(which, workerName(report) + " in " + it.place() + " used no CPU time");
  if (*rate >= limit) return;
  Finding finding = it.about(
      report, "work-rate",
      text("did ", formatNumber(*rate), " units of work per second of CPU time, ", it.limitText(which)),
      "it ran, but slowly: it was moved away from its caches, or shares a core; the figure depends on the "
      "accelerator, too");
  finding.evidence = text("it changed CPU ", report.getMigrations(), " times, among CPUs ",
                          cpuList(cpuNumbers(report.getCpusSeen())));
  const HostLack lack = it.lackInStep(milliseconds(report.getWallNs()));
  const double fedSeconds = milliseconds(report.getCpuNs()) / 1e3 - lack.lostMs / 1e3;
  if (static_cast<double>(report.getWorkUnits()) >= limit * fedSeconds) blameHost(finding, lack);
  it.broken(std::move(finding), *rate, which);
}

}  // namespace

void judgeWorker(const GroupCase& it, Report report) {
  if (!endedClean(report)) return judgeExit(it, report);
  judgeErrors(it, report);
  judgeIsolation(it, report);
  if (it.stallIsNamed()) return;
  if (neverWorked(report) && it.limits().notStarved.yes()) return judgeStarved(it, report);
  judgeGap(it, report);
  judgeIterationRate(it, report);
  judgeWorkRate(it, report);
}

}  // namespace ktstr
