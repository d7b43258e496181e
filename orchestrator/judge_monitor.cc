#include <algorithm>

#include "guest/topology.h"
#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

std::string when(const Sustained& run) {
  return text(" in ", run.run, " consecutive samples, until ", formatMs(run.afterMs),
              " after the first (sample ", run.lastSequence, ")");
}

Finding sustainedFinding(const char* name, const Sustained& run, std::string message, const char* hint) {
  Finding finding{name, Outcome::FAIL, std::move(message) + when(run), hint};
  finding.cpu = run.cpu;
  return finding;
}

// The finding of a condition that was sustained by itself, or else of one that was with the host's help.
template <typename Describe>
void addCondition(const MonitorEvidence& seen, const std::optional<Sustained>& fed,
                  const std::optional<Sustained>& starved, Describe describe, Findings& findings) {
  const auto& run = fed ? fed : starved;
  if (!run) return;
  Finding finding = describe(*run);
  if (!fed) blameHost(finding, hostLack(seen.starved, {run->fromMs, run->afterMs}));
  findings.add(std::move(finding));
}

Finding stallFinding(const Evidence& evidence, const Sustained& run) {
  std::string message = run.idle ? text("CPU ", run.cpu, " idled under ", schedulerName(evidence),
                                        " with tasks on its runqueue, whose clock stood still")
                                 : text("CPU ", run.cpu, " was busy under ", schedulerName(evidence),
                                        " but its runqueue clock stood still");
  if (!run.also.empty()) message += text(", and with it that of CPU ", cpuList(run.also));
  Finding finding = sustainedFinding(
      "scheduler-stalled", run, std::move(message),
      run.idle
          ? "nobody gave it its tasks or woke it: look at what dispatch consumes and at scx_bpf_kick_cpu()"
          : "its timer tick did not come: interrupts are off or a lock is held; samples.jsonl shows what it "
            "ran");
  finding.value = run.run;
  finding.limit = evidence.limits.sustainedSamples.value();
  return finding;
}

Finding dsqFinding(const Limits& limits, const Sustained& run) {
  Finding finding = sustainedFinding(
      "local-dsq-depth", run,
      text("up to ", formatNumber(run.value), " tasks waited in the local DSQ of CPU ", run.cpu, ", ",
           describeLimit(limits, &Limits::maxLocalDsqDepth), ","),
      "tasks in a local DSQ cannot run elsewhere: dispatch fewer at once, or through a shared DSQ");
  finding.value = run.value;
  finding.limit = limits.maxLocalDsqDepth.value();
  return finding;
}

Finding imbalanceFinding(const Limits& limits, const Sustained& run) {
  Finding finding = sustainedFinding(
      "imbalance", run,
      text("the fullest CPU had up to ", formatNumber(run.value), " times the tasks of the emptiest, ",
           describeLimit(limits, &Limits::maxImbalanceRatio), ","),
      "the scheduler leaves CPUs idle beside full ones; cpusets that force this need a higher limit");
  finding.value = run.value;
  finding.limit = limits.maxImbalanceRatio.value();
  return finding;
}

// The limits on sched_ext's event counters.
struct RateLimit {
  Limit Limits::*limit;
  RateEvidence MonitorEvidence::*seen;
  const char* finding;
  const char* event;
  const char* what;
  const char* hint;
};
constexpr RateLimit rateLimits[] = {
    {&Limits::maxFallbackRate, &MonitorEvidence::fallback, "fallback-rate", "SCX_EV_SELECT_CPU_FALLBACK",
     "times a second select_cpu chose a CPU that the task may not use",
     "select_cpu must return a CPU of p->cpus_ptr: look at how it picks one"},
    {&Limits::maxKeepLastRate, &MonitorEvidence::keepLast, "keep-last-rate", "SCX_EV_DISPATCH_KEEP_LAST",
     "times a second a task ran on because dispatch gave its CPU nothing else",
     "dispatch finds nothing although a slice has ended: look at what it consumes, or set "
     "SCX_OPS_ENQ_LAST"},
};

Finding rateFinding(const Limits& limits, const RateLimit& kind, const Sustained& run) {
  Finding finding = sustainedFinding(kind.finding, run,
                                     text("up to ", formatNumber(run.value), ' ', kind.what, " (", kind.event,
                                          "), ", describeLimit(limits, kind.limit), ","),
                                     kind.hint);
  finding.value = run.value;
  finding.limit = (limits.*kind.limit).value();
  return finding;
}

void judgeConditions(const Evidence& evidence, Findings& findings) {
  const MonitorEvidence& seen = evidence.monitor;
  const Limits& limits = evidence.limits;
  // That tasks lie about on idle CPUs is what the watchdog has ended the scheduler for.
  const bool told = findings.has("scheduler-stalled") && seen.stall && seen.stall->idle;
  if (limits.failOnStall.yes() && !told) {
    addCondition(
        seen, seen.stall, seen.starvedStall,
        [&](const Sustained& run) { return stallFinding(evidence, run); }, findings);
  }
  if (!evidence.scheduler.empty()) {
    addCondition(
        seen, seen.dsqDepth, seen.starvedDsqDepth,
        [&](const Sustained& run) { return dsqFinding(limits, run); }, findings);
  }
  if (limits.maxImbalanceRatio.set) {
    addCondition(
        seen, seen.imbalance, seen.starvedImbalance,
        [&](const Sustained& run) { return imbalanceFinding(limits, run); }, findings);
  }
  for (const RateLimit& kind : rateLimits) {
    const RateEvidence& rate = seen.*kind.seen;
    addCondition(
        seen, rate.over, rate.starved, [&](const Sustained& run) { return rateFinding(limits, kind, run); },
        findings);
  }
}

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
  const uint64_t bad = seen.samples - seen.validSamples;
  if (static_cast<double>(bad) <= maxImplausibleShare * static_cast<double>(seen.samples)) return false;
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
  for (const RateLimit& kind : rateLimits) {
    const uint64_t known = (evidence.monitor.*kind.seen).intervals;
    if (!(limits.*kind.limit).set || known >= static_cast<uint64_t>(limits.sustainedSamples.value())) continue;
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
