#include <algorithm>
#include <csignal>
#include <cstring>

#include "guest/topology.h"
#include "orchestrator/frozen.h"
#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

std::string signalName(uint32_t number) {
  const char* name = sigabbrev_np(static_cast<int>(number));
  return name != nullptr ? text("SIG", name) : text("signal ", number);
}

bool clean(rpc::WorkerReport::Reader report) {
  return report.getExited().isClean();
}

bool starved(rpc::WorkerReport::Reader report) {
  return clean(report) && report.getWorkUnits() == 0 && report.getIterations() == 0;
}

std::string workerName(rpc::WorkerReport::Reader report) {
  return text(cleanText(report.getWork().cStr()), "[", report.getIndex(), "]");
}

// The guest's time of an event against the monitor's: the news of the scenario's start takes its time.
constexpr double clockSlackMs = 500;

double milliseconds(uint64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e6;
}

// The checks of one group. Findings name the worker as "work[index]".
class GroupJudge {
 public:
  GroupJudge(const Evidence& evidence, const GuestStory& story, const FrozenTimes& frozen,
             const GroupFigures& group, Findings& findings)
      : evidence_(evidence),
        limits_(evidence.limits),
        story_(story),
        frozen_(frozen),
        group_(group),
        findings_(findings) {}

  void judge(bool explained) {
    judgeCount(explained);
    if (!group_.type) return;
    for (const auto& report : group_.reports) judgeWorker(report);
    judgeSpread();
    judgeWakeLatency();
    judgeMigrations();
  }

 private:
  std::string place() const {
    return text("cgroup \"", cleanText(group_.cgroup), "\" of ", cleanText(group_.stepName));
  }

  Finding about(const char* name, std::string message, std::string hint,
                Outcome outcome = Outcome::FAIL) const {
    Finding finding{name, outcome, std::move(message), std::move(hint)};
    finding.step = cleanText(group_.stepName);
    finding.cgroup = cleanText(group_.cgroup);
    return finding;
  }
  Finding about(rpc::WorkerReport::Reader report, const char* name, const std::string& message,
                std::string hint, Outcome outcome = Outcome::FAIL) const {
    const std::string worker = workerName(report);
    Finding finding = about(name, text(worker, " in ", place(), " ", message), std::move(hint), outcome);
    finding.worker = worker;
    return finding;
  }

  void judgeCount(bool explained) {
    const size_t got = group_.reports.size();
    if (!group_.type || got > group_.declared) {
      Finding finding =
          about("guest-corrupt",
                text(got, " workers reported as \"", cleanText(group_.work), "\" in ", place(),
                     ", the scenario has ", group_.declared),
                "the guest reports what it was not asked to run: nothing it reported can be believed",
                Outcome::INCONCLUSIVE);
      finding.value = static_cast<double>(got);
      finding.limit = group_.declared;
      findings_.add(std::move(finding));
    } else if (got < group_.declared && !explained) {
      Finding finding =
          about("worker-report-missing",
                text("only ", got, " of ", group_.declared, " workers of \"", cleanText(group_.work),
                     "\" in ", place(), " reported"),
                "see events.jsonl for what the guest did last; the missing workers were not judged",
                Outcome::INCONCLUSIVE);
      finding.value = static_cast<double>(got);
      finding.limit = group_.declared;
      findings_.add(std::move(finding));
    }
  }

  // The watchdog has ended the scheduler because tasks waited: that these did follows.
  bool stallIsNamed() const { return findings_.has("scheduler-stalled"); }

  void judgeWorker(rpc::WorkerReport::Reader report) {
    if (!clean(report)) return judgeExit(report);
    judgeIsolation(report);
    if (stallIsNamed()) return;
    if (starved(report) && limits_.notStarved) {
      if (frozenNs(report, report.getWallNs()) >= report.getWallNs() / 10 * 9) return;
      Finding finding =
          about(report, "worker-starved",
                text("did not finish one unit of work in ", formatMs(milliseconds(report.getWallNs())),
                     " under ", schedulerName(evidence_)),
                "the scheduler never ran it, or hardly: check how it places and dispatches a new task");
      finding.value = 0;
      const HostLack lack = densestLack(evidence_.monitor.starved, milliseconds(report.getWallNs()));
      if (lack.explains(milliseconds(report.getWallNs()))) blameHost(finding, lack);
      findings_.add(std::move(finding));
      return;
    }
    judgeGap(report);
    judgeRate(report);
  }

  void judgeExit(rpc::WorkerReport::Reader report) {
    const auto exited = report.getExited();
    const bool stuck = exited.isStuck();
    const std::string how = stuck ? std::string("did not stop when it was told to, and was killed")
                            : exited.isSignal() ? text("was killed by ", signalName(exited.getSignal()))
                                                : text("ended with exit code ", exited.getCode());
    Finding finding =
        stuck
            ? about(
                  report, "worker-stuck", how,
                  "the scheduler did not run it even to let it end: look at the monitor's samples of its CPU")
            : about(report, "worker-crashed", how,
                    "the workers are ktstr's own: look for an oops or an out-of-memory kill in console.log, "
                    "or give --memory more");
    // It made no progress from its last checkpoint on, which its report has as its gap.
    const HostLack lack = lackInGap(report);
    if (stuck && report.getMaxGapNs() > 0 && lack.explains(milliseconds(report.getMaxGapNs())))
      blameHost(finding, lack);
    findings_.add(std::move(finding));
  }

  void judgeIsolation(rpc::WorkerReport::Reader report) {
    if (!limits_.isolation || (!group_.hasCpuset && report.getCpuset().size() == 0)) return;
    std::vector<uint32_t> allowed, outside;
    for (const uint32_t cpu : report.getCpuset()) allowed.push_back(cpu);
    std::sort(allowed.begin(), allowed.end());
    for (const uint32_t cpu : report.getCpusSeen()) {
      if (!std::binary_search(allowed.begin(), allowed.end(), cpu)) outside.push_back(cpu);
    }
    if (allowed.empty() || (report.getCpusSeen().size() == 0 && !starved(report))) {
      findings_.add(about(report, "worker-isolation",
                          "did not report its cpuset and the CPUs it ran on, so its isolation is not known",
                          "see events.jsonl for its report", Outcome::INCONCLUSIVE));
      return;
    }
    if (outside.empty()) return;
    std::sort(outside.begin(), outside.end());
    Finding finding = about(report, "worker-isolation",
                            text("ran on CPU ", cpuList(outside), ", outside its cpuset ", cpuList(allowed)),
                            "the scheduler ignores p->cpus_ptr when it picks a CPU or dispatches");
    finding.cpu = static_cast<int32_t>(outside.front());
    findings_.add(std::move(finding));
  }

  // When the worker's longest gap ended, since the start of the scenario; nothing where the guest does not
  // tell.
  std::optional<double> gapEndMs(rpc::WorkerReport::Reader report) const {
    if (!story_.scenarioStarted || report.getMaxGapAtNs() < story_.scenarioStartNs) return std::nullopt;
    return milliseconds(report.getMaxGapAtNs() - story_.scenarioStartNs);
  }

  HostLack lackInGap(rpc::WorkerReport::Reader report) const {
    Window window;
    if (const auto end = gapEndMs(report)) {
      window = {*end - milliseconds(report.getMaxGapNs()) - clockSlackMs, *end + clockSlackMs};
    }
    return hostLack(evidence_.monitor.starved, window);
  }

  // How much of the last `lengthNs` before its longest gap's end the worker was frozen by the scenario
  // itself.
  uint64_t frozenNs(rpc::WorkerReport::Reader report, uint64_t lengthNs) const {
    const uint64_t end = report.getMaxGapAtNs();
    return frozen_.frozenNs(report.getCgroup(), end - std::min(end, lengthNs), end);
  }

  void judgeGap(rpc::WorkerReport::Reader report) {
    const double gapMs = milliseconds(report.getMaxGapNs() - frozenNs(report, report.getMaxGapNs()));
    if (gapMs <= limits_.maxGapMs) return;
    std::string message = text("made no progress for ", formatMs(gapMs), " (limit ",
                               formatMs(limits_.maxGapMs), "), until it ran on CPU ", report.getMaxGapCpu());
    if (const auto end = gapEndMs(report)) message += text(" ", formatMs(*end), " into the scenario");
    Finding finding = about(report, "worker-gap", message,
                            "the task was runnable and got no CPU: look at what ran on its CPUs at that time "
                            "in samples.jsonl");
    const HostLack lack = lackInGap(report);
    if (gapMs - lack.lostMs <= limits_.maxGapMs) blameHost(finding, lack);
    finding.cpu = static_cast<int32_t>(report.getMaxGapCpu());
    finding.value = gapMs;
    finding.limit = limits_.maxGapMs;
    findings_.add(std::move(finding));
  }

  void judgeRate(rpc::WorkerReport::Reader report) {
    if (!limits_.minIterationsPerSecond) return;
    const double seconds = static_cast<double>(report.getWallNs()) / 1e9;
    const double rate = seconds > 0 ? static_cast<double>(report.getIterations()) / seconds : 0;
    if (rate >= *limits_.minIterationsPerSecond) return;
    Finding finding = about(
        report, "iteration-rate",
        text("made ", formatNumber(rate), " iterations/s, less than the ",
             formatNumber(*limits_.minIterationsPerSecond), " asked for"),
        "compare with EEVDF on the same host: the figure depends on the accelerator and on the host's load");
    finding.value = rate;
    finding.limit = *limits_.minIterationsPerSecond;
    findings_.add(std::move(finding));
  }

  void judgeSpread() {
    if (stallIsNamed() || (!group_.isCpuBound && !limits_.spreadForAllGroups)) return;
    // Without the starved and the dead: they are named already.
    const auto told = [&](const auto& report) {
      return !clean(report) || (starved(report) && limits_.notStarved);
    };
    if (std::any_of(group_.reports.begin(), group_.reports.end(), told)) return;
    if (!group_.spreadPct || *group_.spreadPct <= limits_.maxSpreadPct) return;
    rpc::WorkerReport::Reader least = group_.reports.front(), most = least;
    for (const auto& report : group_.reports) {
      const auto share = cpuSharePct(report);
      if (!share) continue;
      if (*share < cpuSharePct(least).value_or(1e9)) least = report;
      if (*share > cpuSharePct(most).value_or(-1)) most = report;
    }
    Finding finding =
        about("worker-unfair",
              text(group_.reports.size(), " equal workers \"", group_.work, "\" in ", place(), " got from ",
                   formatNumber(*cpuSharePct(least)), " % (", workerName(least), ") to ",
                   formatNumber(*cpuSharePct(most)), " % (", workerName(most), ") of a CPU under ",
                   schedulerName(evidence_), ": a spread of ", formatNumber(*group_.spreadPct),
                   " points, limit ", formatNumber(limits_.maxSpreadPct)),
              text("they ran on CPUs ", cpuList(group_.cpusSeen),
                   "; set assertions.maxSpreadPct if this much is meant to be"));
    finding.worker = workerName(least);
    finding.value = *group_.spreadPct;
    finding.limit = limits_.maxSpreadPct;
    const HostLack lack = densestLack(evidence_.monitor.starved, milliseconds(least.getWallNs()));
    const double lostPct = 100 * lack.lostMs / milliseconds(least.getWallNs());
    if (*group_.spreadPct - lostPct <= limits_.maxSpreadPct) blameHost(finding, lack);
    findings_.add(std::move(finding));
  }

  void judgeWakeLatency() {
    if (!limits_.maxP99WakeLatencyUs || !group_.hasWakeLatency || group_.reports.empty()) return;
    if (!group_.p99WakeLatencyUs) {
      findings_.add(about("wake-latency-missing",
                          text("no worker of \"", group_.work, "\" in ", place(),
                               " measured a wake-up, so its latency is not known"),
                          "let the step hold longer than one sleep of the workers", Outcome::INCONCLUSIVE));
      return;
    }
    if (*group_.p99WakeLatencyUs <= *limits_.maxP99WakeLatencyUs) return;
    Finding finding = about(
        "wake-latency",
        text("p99 wake latency of \"", group_.work, "\" in ", place(), " is ",
             formatNumber(*group_.p99WakeLatencyUs), " us over ", group_.wakeSamples, " wake-ups, limit ",
             formatNumber(*limits_.maxP99WakeLatencyUs), " us"),
        "the limit depends on the accelerator and on the host's load: compare with EEVDF on the same host");
    finding.value = *group_.p99WakeLatencyUs;
    finding.limit = *limits_.maxP99WakeLatencyUs;
    findings_.add(std::move(finding));
  }

  void judgeMigrations() {
    if (!limits_.maxMigrationRatio || group_.reports.empty()) return;
    if (group_.iterations == 0) {
      if (!limits_.notStarved)
        findings_.add(about("migration-ratio",
                            text("\"", group_.work, "\" in ", place(),
                                 " made no iteration, so its migration ratio is not known"),
                            "let the step hold longer", Outcome::INCONCLUSIVE));
      return;
    }
    const double ratio = static_cast<double>(group_.migrations) / static_cast<double>(group_.iterations);
    if (ratio <= *limits_.maxMigrationRatio) return;
    Finding finding =
        about("migration-ratio",
              text("\"", group_.work, "\" in ", place(), " changed CPU ", group_.migrations, " times in ",
                   group_.iterations, " iterations: ", ratio, ", limit ", *limits_.maxMigrationRatio),
              "the scheduler moves tasks without need: look at select_cpu and at shared DSQs");
    finding.value = ratio;
    finding.limit = *limits_.maxMigrationRatio;
    findings_.add(std::move(finding));
  }

  const Evidence& evidence_;
  const Limits& limits_;
  const GuestStory& story_;
  const FrozenTimes& frozen_;
  const GroupFigures& group_;
  Findings& findings_;
};

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
    GroupJudge(evidence, story, frozen, group, findings).judge(explained);
  }
  judgeWorkerFailures(story, reports, findings);
  const auto measures = [](const GroupFigures& group) { return group.hasWakeLatency; };
  if (evidence.limits.maxP99WakeLatencyUs && std::none_of(groups.begin(), groups.end(), measures) &&
      !explained) {
    findings.add({"wake-latency-missing", Outcome::INCONCLUSIVE,
                  "the scenario limits wake latency, but none of its work measures it",
                  "add bursty, futexPingPong or pipeIo workers, or remove assertions.maxP99WakeLatencyUs"});
  }
}

}  // namespace ktstr
