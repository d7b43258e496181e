#include <algorithm>

#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

const char* implausibleName(Implausible why) {
  switch (why) {
    case Implausible::dsqDepth:
      return "with an impossible local DSQ depth";
    case Implausible::clockBackwards:
      return "with a runqueue clock that went backwards";
    case Implausible::noCpuReadable:
      return "in which no CPU could be read";
  }
  return "";
}

// Too many samples are not to be believed: true, and no other finding comes from them.
bool judgePlausible(const MonitorEvidence& seen, Findings& findings) {
  if (believable(seen)) return false;
  const uint64_t bad = seen.samples - seen.validSamples;
  Finding finding{
      "monitor-implausible", Outcome::INCONCLUSIVE,
      text(bad, " of ", seen.samples, " samples of the monitor cannot be true:"),
      "the monitor reads this kernel wrongly: say which kernel it is in a report, with samples.jsonl"};
  const char* separator = " ";
  for (const auto& [why, count] : seen.implausible) {
    finding.message += text(separator, count, " ", implausibleName(why));
    separator = ", ";
  }
  finding.value = static_cast<double>(bad);
  finding.limit = maxImplausibleShare * static_cast<double>(seen.samples);
  finding.evidence = seen.implausibleExample;
  findings.add(std::move(finding));
  return true;
}

void addMissing(Findings& findings, std::string message, std::string hint, std::string evidence = {}) {
  Finding finding{"monitor-missing", Outcome::INCONCLUSIVE, std::move(message), std::move(hint)};
  finding.evidence = std::move(evidence);
  findings.add(std::move(finding));
}

bool judgeEnough(const Evidence& evidence, Findings& findings) {
  const MonitorEvidence& seen = evidence.monitor;
  if (!seen.attached) {
    addMissing(
        findings,
        seen.lastWaiting.empty() ? "the monitor never found the guest's kernel"
                                 : text("the monitor never found the guest's kernel: ", seen.lastWaiting),
        "the kernel needs CONFIG_VMCORE_INFO, CONFIG_KALLSYMS and CONFIG_DEBUG_INFO_BTF", seen.endedDetail);
    return false;
  }
  const bool judged = evidence.limits.failOnStall.yes() || evidence.limits.maxImbalanceRatio.set ||
                      !evidence.scheduler.empty();
  const auto needed = judged ? static_cast<uint64_t>(evidence.limits.sustainedSamples.value()) : 1;
  if (seen.validSamples < needed) {
    const HostLack lack = hostLack(seen.starved);
    addMissing(findings,
               text("the monitor took ", seen.validSamples, " usable samples while the scenario ran; ",
                    needed, " are needed to judge"),
               "let the scenario run longer, or lower assertions.sustainedSamples; on a loaded host the "
               "monitor may come too late",
               text(seen.allSamples, " samples in all", lack.lostMs > 0 ? "; " + lack.describe() : ""));
    return false;
  }
  if (!evidence.scheduler.empty() && (seen.scxReadableSamples == 0 || seen.dsqReadableSamples == 0)) {
    addMissing(
        findings,
        text("the monitor could not read ",
             seen.scxReadableSamples == 0 ? "the state of sched_ext" : "any local DSQ", " in this kernel"),
        "the kernel's BTF or symbols lack what it needs", joinLines(seen.absent));
    return false;
  }
  return true;
}

// What was asked for and only a sched_ext scheduler has.
void judgeScxKnown(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const Limits& limits = evidence.limits;
  const bool never = evidence.scheduler.empty() && story.attached.empty();
  if (never && limits.maxLocalDsqDepth.asked())
    findings.add(notJudged(limits, &Limits::maxLocalDsqDepth, "no sched_ext scheduler ran"));
  for (const RateLimit& kind : {fallbackRateLimit, keepLastRateLimit}) {
    const uint64_t known = (evidence.monitor.*kind.seen).intervals;
    if (!(limits.*kind.limit).set || known >= static_cast<uint64_t>(limits.sustainedSamples.value()))
      continue;
    const std::string why = text("the monitor could read ", kind.event, " over ", known, " of ",
                                 evidence.monitor.samples, " samples");
    Finding finding = notJudged(limits, kind.limit, never ? "no sched_ext scheduler ran" : why);
    finding.evidence = joinLines(evidence.monitor.absent);
    findings.add(std::move(finding));
  }
}

void addContradiction(Findings& findings, std::string message) {
  findings.add(
      {"monitor-contradicts-guest", Outcome::INCONCLUSIVE, std::move(message),
       "one of the two is wrong: compare events.jsonl (the guest) with samples.jsonl (the monitor)"});
}

constexpr uint64_t visibleNs = 1'000'000'000;  // ten samples at the monitor's usual period

// How long a scheduler was attached while the scenario ran; a time that did not end lasts.
uint64_t attachedNs(const AttachedTime& time, const GuestStory& story) {
  const uint64_t from = std::max(time.fromNs, story.scenarioStartNs);
  const uint64_t to = time.toNs ? *time.toNs : UINT64_MAX;
  return to > from ? to - from : 0;
}

bool longEnough(const GuestStory& story) {
  return std::any_of(story.attached.begin(), story.attached.end(),
                     [&](const AttachedTime& time) { return attachedNs(time, story) >= visibleNs; });
}

// One that was attached long enough to be seen, and is not among the names.
const AttachedTime* unseenBy(const std::vector<std::string>& names, const GuestStory& story) {
  for (const AttachedTime& time : story.attached) {
    const bool seen = std::find(names.begin(), names.end(), time.opsName) != names.end();
    if (!seen && attachedNs(time, story) >= visibleNs) return &time;
  }
  return nullptr;
}

// One scheduler, from before the scenario to its end.
bool allTheTime(const GuestStory& story) {
  const auto& times = story.attached;
  return times.size() == 1 && times[0].fromNs <= story.scenarioStartNs &&
         (!times[0].toNs || !times[0].ordered || *times[0].toNs >= story.scenarioEndNs);
}

void judgeAgreement(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const MonitorEvidence& seen = evidence.monitor;
  const auto& names = seen.opsNames;
  const std::string readable = text(seen.scxReadableSamples, " samples");
  if (evidence.scheduler.empty() && story.attached.empty()) {
    if (seen.scxEnabledSamples > 0) {
      addContradiction(findings,
                       text("the run was to be under EEVDF, but the monitor saw sched_ext enabled in ",
                            seen.scxEnabledSamples, " of ", readable));
    }
  } else if (seen.scxEnabledSamples == 0 && longEnough(story)) {
    addContradiction(findings,
                     text("the guest says that ", schedulerName(evidence),
                          " was attached, but the monitor saw sched_ext enabled in none of ", readable));
  } else if (const AttachedTime* unseen = unseenBy(names, story); unseen != nullptr && !names.empty()) {
    addContradiction(findings, text("the guest says that \"", unseen->opsName,
                                    "\" was attached, but the monitor saw \"", names.front(), "\""));
  } else if (allTheTime(story) && seen.scxLostRun >= evidence.limits.sustainedSamples.value()) {
    addContradiction(findings, text("the guest says that ", evidence.scheduler,
                                    " ran all the time, but the monitor saw sched_ext off in ",
                                    seen.scxLostRun, " consecutive samples"));
  }
}

}  // namespace

void judgeMonitor(const Evidence& evidence, const GuestStory& story, bool explained, Findings& findings) {
  if (evidence.monitor.samples > 0 && judgePlausible(evidence.monitor, findings)) return;
  judgeConditions(evidence, findings);
  if (explained || !judgeEnough(evidence, findings)) return;
  judgeScxKnown(evidence, story, findings);
  judgeAgreement(evidence, story, findings);
}

}  // namespace ktstr
