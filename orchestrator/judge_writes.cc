#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

Finding writeFailed(const std::string& asked, const std::string& what, const char* hint) {
  return {"map-write-failed", Outcome::INCONCLUSIVE, text("--map-write ", cleanText(asked), " ", what), hint};
}

void judgeOutcome(rpc::MapWriteOutcome::Reader outcome, Findings& findings) {
  const std::string failure = outcome.getFailure().cStr();
  if (failure == "held-back") return;  // the one that failed is named
  if (!failure.empty()) {
    Finding finding =
        writeFailed(outcome.getAsked().cStr(),
                    text("was not made: ", cleanText(failure), ": ", cleanText(outcome.getProblem().cStr())),
                    "what the scenario showed, it showed without the write");
    if (failure == "write-refused") finding.outcome = Outcome::INFRASTRUCTURE;
    findings.add(std::move(finding));
  } else if (!outcome.getAfterValid() || outcome.getAfter() != outcome.getWrote()) {
    findings.add(writeFailed(outcome.getAsked().cStr(),
                             outcome.getAfterValid() ? text("did not stay: wrote ", outcome.getWrote(),
                                                            ", read back ", outcome.getAfter())
                                                     : "could not be read back",
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
  for (const auto& outcome : evidence.mapWrites.outcomes) judgeOutcome(outcome, findings);
  if (explained) return;
  for (size_t i = evidence.mapWrites.outcomes.size(); i < evidence.mapWrites.asked.size(); ++i) {
    findings.add(writeFailed(evidence.mapWrites.asked[i],
                             "was not made: the monitor saw no sched_ext scheduler enabled",
                             "let the scenario hold longer: the monitor looks ten times a second"));
  }
}

}  // namespace ktstr
