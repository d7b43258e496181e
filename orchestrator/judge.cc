#include "orchestrator/judge.h"

#include <array>
#include <cmath>
#include <cstdio>

#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

const char* phaseName(RunPhase phase) {
  constexpr std::array<const char*, 9> names = {"resolve",  "image",   "prepare",  "boot", "scheduler",
                                                "scenario", "collect", "baseline", "judge"};
  return names.at(static_cast<size_t>(phase));
}

Finding notJudged(const Limits& limits, Limit Limits::*which, const std::string& why) {
  Finding finding{
      "limit-not-judged", Outcome::INCONCLUSIVE,
      text(assertionOf(which).name, " (", describeLimit(limits, which), ") was not judged: ", why),
      "let the step hold longer, choose work that measures it (`ktstr work-type list`), or leave the "
      "assertion out"};
  finding.limit = (limits.*which).value();
  return finding;
}

void blameHost(Finding& finding, const HostLack& lack) {
  finding.name = "host-starved";
  finding.outcome = Outcome::INCONCLUSIVE;
  finding.message += "; but " + lack.describe();
  finding.hint = "repeat it on an idle host, or with fewer vCPUs";
  if (finding.cpu < 0) finding.cpu = lack.cpu;
}

std::string lastLines(const std::string& text, size_t count) {
  size_t from = text.size();
  while (from > 0 && text[from - 1] == '\n') --from;
  const size_t end = from;
  for (; from > 0; --from) {
    if (text[from - 1] == '\n' && --count == 0) break;
  }
  return text.substr(from, end - from);
}

std::string joinLines(const std::vector<std::string>& lines) {
  std::string joined;
  for (const std::string& line : lines) joined += (joined.empty() || line.empty() ? "" : "\n") + line;
  return joined;
}

std::string formatNumber(double value) {
  std::array<char, 64> buffer;
  snprintf(buffer.data(), buffer.size(), std::abs(value) < 100 ? "%.2f" : "%.1f", value);
  std::string number = buffer.data();
  while (number.ends_with('0')) number.pop_back();
  if (number.ends_with('.')) number.pop_back();
  return number;
}

std::string formatMs(double milliseconds) {
  if (std::abs(milliseconds) >= 10000) return formatNumber(milliseconds / 1000) + " s";
  return formatNumber(milliseconds) + " ms";
}

std::string schedulerName(const Evidence& evidence) {
  return evidence.scheduler.empty() ? "EEVDF" : evidence.scheduler;
}

std::vector<rpc::WorkerReport::Reader> workerReports(std::span<const rpc::GuestEvent::Reader> events) {
  std::vector<rpc::WorkerReport::Reader> reports;
  for (const auto& event : events) {
    if (event.isWorker()) reports.push_back(event.getWorker());
  }
  return reports;
}

Judgement judge(const Evidence& evidence) {
  const GuestStory story = readEvents(evidence.events);
  Findings findings;
  judgeLifecycle(evidence, story, findings);
  judgeReportComplete(evidence, story, findings);
  const bool explained = findings.any();
  judgeWorkers(evidence, story, explained, findings);
  judgeMonitor(evidence, story, explained, findings);
  judgeMapWrites(evidence, explained, findings);
  judgeWatchdog(evidence, explained, findings);
  judgePerformance(evidence, story, findings);
  if (!explained) {
    judgeCpus(evidence, story, findings);
    judgeRelative(evidence, story, findings);
  }

  Judgement judgement;
  judgement.outcome = findings.outcome();
  judgement.exitCode = exitCodeOf(judgement.outcome);
  const auto& error = evidence.lifecycle.error;
  if (error && error->code() == ExitCode::usage && judgement.outcome == Outcome::INFRASTRUCTURE) {
    judgement.exitCode = ExitCode::usage;
  }
  judgement.findings = findings.sorted();
  return judgement;
}

}  // namespace ktstr
