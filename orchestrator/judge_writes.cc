#include <algorithm>
#include <optional>

#include "orchestrator/console.h"
#include "orchestrator/judge_parts.h"
#include "orchestrator/stats.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

Finding writeFailed(const std::string& what, const char* hint) {
  return {"map-write-failed", Outcome::INCONCLUSIVE, what, hint};
}

// "operation 0 of main", which asked for it.
std::string placeOf(const Evidence& evidence, rpc::MapWriteOutcome::Reader outcome) {
  return text("operation ", outcome.getOp(), " of ",
              cleanText(stepNameOf(evidence.scenario, outcome.getStep())));
}

std::string nameOf(const Evidence& evidence, rpc::MapWriteOutcome::Reader outcome) {
  const std::string asked = cleanText(outcome.getAsked().cStr());
  return outcome.getOfOperation() ? text("writeMap ", asked, " (", placeOf(evidence, outcome), ")")
                                  : "--map-write " + asked;
}

void judgeOutcome(const Evidence& evidence, rpc::MapWriteOutcome::Reader outcome, bool explained,
                  Findings& findings) {
  const std::string failure = outcome.getFailure().cStr(), name = nameOf(evidence, outcome);
  if (failure == "held-back") return;  // the one that failed is named
  if (failure == "run-ended" && explained) return;
  if (!failure.empty()) {
    Finding finding = writeFailed(
        text(name, " was not made: ", cleanText(failure), ": ", cleanText(outcome.getProblem().cStr())),
        "what the scenario showed, it showed without the write");
    if (failure == "write-refused") finding.outcome = Outcome::INFRASTRUCTURE;
    findings.add(std::move(finding));
  } else if (!outcome.getAfterValid() || outcome.getAfter() != outcome.getWrote()) {
    findings.add(writeFailed(outcome.getAfterValid() ? text(name, " did not stay: wrote ", outcome.getWrote(),
                                                            ", read back ", outcome.getAfter())
                                                     : name + " could not be read back",
                             "the scheduler itself writes there: choose what it only reads"));
  }
}

constexpr uint64_t longestTickMs = 10;  // HZ=100; timeouts are whole ticks

Finding watchdogNotSet(uint32_t askedMs, const std::string& what, const char* hint) {
  return {"watchdog-not-set", Outcome::INCONCLUSIVE, text("--watchdog-timeout ", askedMs, " ms ", what),
          hint};
}

void judgeWatchdogWrite(rpc::WatchdogWrite::Reader write, uint32_t askedMs, Findings& findings) {
  const std::string failure = write.getFailure().cStr();
  if (!failure.empty()) {
    Finding finding = watchdogNotSet(
        askedMs, text("was not set: ", cleanText(failure), ": ", cleanText(write.getProblem().cStr())),
        "the scheduler kept the timeout of its own");
    if (failure == "write-refused") finding.outcome = Outcome::INFRASTRUCTURE;
    findings.add(std::move(finding));
  } else if (write.getReadBackMs() > askedMs || write.getReadBackMs() + longestTickMs < askedMs) {
    findings.add(watchdogNotSet(
        askedMs, text("reads back as ", write.getReadBackMs(), " ms in ", cleanText(write.getPlace().cStr())),
        "this kernel may keep it elsewhere: see ktstr-monitor type scx_sched"));
  }
}

}  // namespace

void judgeWatchdog(const Evidence& evidence, bool explained, Findings& findings) {
  const auto& [askedMs, outcomes] = evidence.watchdog;
  for (const auto& write : outcomes) judgeWatchdogWrite(write, askedMs, findings);
  if (askedMs != 0 && outcomes.empty() && !explained) {
    findings.add(watchdogNotSet(askedMs, "was not set: the monitor saw no sched_ext scheduler enabled",
                                "let the scenario hold longer: the monitor looks ten times a second"));
  }
}

void judgeMapWrites(const Evidence& evidence, bool explained, Findings& findings) {
  const auto& [asked, outcomes] = evidence.mapWrites;
  for (const auto& outcome : outcomes) judgeOutcome(evidence, outcome, explained, findings);
  if (explained) return;
  const auto ofOperation = [](const auto& outcome) { return outcome.getOfOperation(); };
  const auto told =
      outcomes.size() - static_cast<size_t>(std::count_if(outcomes.begin(), outcomes.end(), ofOperation));
  for (size_t i = told; i < asked.size(); ++i) {
    findings.add(writeFailed(text("--map-write ", cleanText(asked[i]),
                                  " was not made: the monitor saw no sched_ext scheduler enabled"),
                             "let the scenario hold longer: the monitor looks ten times a second"));
  }
}

std::string writesBefore(const Evidence& evidence, uint64_t guestNs) {
  std::string words;
  std::optional<rpc::MapWriteOutcome::Reader> last;
  for (const auto& outcome : evidence.mapWrites.outcomes) {
    const bool made = outcome.getOfOperation() && outcome.getFailure().size() == 0;
    if (!made || !evidence.clock || evidence.clock->guestNs(outcome.getAtNs()) > guestNs) continue;
    const bool another = last && (last->getStep() != outcome.getStep() || last->getOp() != outcome.getOp());
    if (!last || another) words.clear();
    words += (words.empty() ? "" : ", ") + cleanText(outcome.getAsked().cStr());
    last = outcome;
  }
  if (!last) return "";
  const double ms = static_cast<double>(guestNs - evidence.clock->guestNs(last->getAtNs())) / 1e6;
  return text("provoked by the host's write ", words, "? It came ", formatMs(ms), " before (",
              placeOf(evidence, *last), ")\n");
}

}  // namespace ktstr
