// What the monitor saw last too long.
#include "guest/topology.h"
#include "orchestrator/judge_parts.h"
#include "orchestrator/live_judgement.h"
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

Finding dsqFinding(const Evidence& evidence, const Sustained& run) {
  const Limits& limits = evidence.limits;
  Finding finding = sustainedFinding(
      "local-dsq-depth", run,
      text("up to ", formatNumber(run.value), " tasks waited in the local DSQ of CPU ", run.cpu, ", ",
           describeLimit(limits, &Limits::maxLocalDsqDepth), ","),
      "tasks in a local DSQ cannot run elsewhere: dispatch fewer at once, or through a shared DSQ");
  finding.value = run.value;
  finding.limit = limits.maxLocalDsqDepth.value();
  return finding;
}

Finding imbalanceFinding(const Evidence& evidence, const Sustained& run) {
  const Limits& limits = evidence.limits;
  Finding finding = sustainedFinding(
      "imbalance", run,
      text("the fullest CPU had up to ", formatNumber(run.value), " times the tasks of the emptiest, ",
           describeLimit(limits, &Limits::maxImbalanceRatio), ","),
      "the scheduler leaves CPUs idle beside full ones; cpusets that force this need a higher limit");
  finding.value = run.value;
  finding.limit = limits.maxImbalanceRatio.value();
  return finding;
}

Finding rateFinding(const char* name, const Limits& limits, const RateLimit& kind, const Sustained& run,
                    const char* what, const char* hint) {
  Finding finding = sustainedFinding(name, run,
                                     text("up to ", formatNumber(run.value), ' ', what, " (", kind.event,
                                          "), ", describeLimit(limits, kind.limit), ","),
                                     hint);
  finding.value = run.value;
  finding.limit = (limits.*kind.limit).value();
  return finding;
}

Finding fallbackFinding(const Evidence& evidence, const Sustained& run) {
  return rateFinding("fallback-rate", evidence.limits, fallbackRateLimit, run,
                     "times a second select_cpu chose a CPU that the task may not use",
                     "select_cpu must return a CPU of p->cpus_ptr: look at how it picks one");
}

Finding keepLastFinding(const Evidence& evidence, const Sustained& run) {
  return rateFinding("keep-last-rate", evidence.limits, keepLastRateLimit, run,
                     "times a second a task ran on because dispatch gave its CPU nothing else",
                     "dispatch finds nothing although a slice has ended: look at what it consumes, or set "
                     "SCX_OPS_ENQ_LAST");
}

using SeenRun = const std::optional<Sustained>&;

// What must not last. The same list for the verdict and for sustainedViolations().
struct Condition {
  const char* finding;
  bool (*judged)(const Limits&, bool underScheduler);
  SeenRun (*sustained)(const MonitorEvidence&);  // by itself
  SeenRun (*withHost)(const MonitorEvidence&);   // only with samples before which the host starved a vCPU
  Finding (*describe)(const Evidence&, const Sustained&);
};

bool always(const Limits&, bool) {
  return true;
}
bool failsOnStall(const Limits& limits, bool) {
  return limits.failOnStall.yes();
}
bool hasLocalDsqs(const Limits&, bool underScheduler) {
  return underScheduler;
}
bool limitsImbalance(const Limits& limits, bool) {
  return limits.maxImbalanceRatio.set.has_value();
}

template <auto run>
SeenRun of(const MonitorEvidence& seen) {
  return seen.*run;
}
template <auto rate, auto run>
SeenRun ofRate(const MonitorEvidence& seen) {
  return seen.*rate.*run;
}

using M = MonitorEvidence;
using R = RateEvidence;

const Condition conditions[] = {
    {"scheduler-stalled", failsOnStall, of<&M::stall>, of<&M::starvedStall>, stallFinding},
    {"local-dsq-depth", hasLocalDsqs, of<&M::dsqDepth>, of<&M::starvedDsqDepth>, dsqFinding},
    {"imbalance", limitsImbalance, of<&M::imbalance>, of<&M::starvedImbalance>, imbalanceFinding},
    {"fallback-rate", always, ofRate<&M::fallback, &R::over>, ofRate<&M::fallback, &R::starved>,
     fallbackFinding},
    {"keep-last-rate", always, ofRate<&M::keepLast, &R::over>, ofRate<&M::keepLast, &R::starved>,
     keepLastFinding},
};

}  // namespace

void judgeConditions(const Evidence& evidence, Findings& findings) {
  const MonitorEvidence& seen = evidence.monitor;
  for (const Condition& condition : conditions) {
    if (!condition.judged(evidence.limits, !evidence.scheduler.empty())) continue;
    const auto& fed = condition.sustained(seen);
    const auto& run = fed ? fed : condition.withHost(seen);
    // That tasks lie about on idle CPUs is what the watchdog has ended the scheduler for.
    if (!run || (fed && fed->idle && findings.has(condition.finding))) continue;
    Finding finding = condition.describe(evidence, *run);
    if (!fed) blameHost(finding, hostLack(seen.starved, {run->fromMs, run->afterMs}));
    findings.add(std::move(finding));
  }
}

bool believable(const MonitorEvidence& seen) {
  const uint64_t bad = seen.samples - seen.validSamples;
  return static_cast<double>(bad) <= maxImplausibleShare * static_cast<double>(seen.samples);
}

std::vector<std::string> sustainedViolations(const Limits& limits, bool underScheduler,
                                             const MonitorEvidence& seen) {
  std::vector<std::string> names;
  if (!believable(seen)) return names;
  for (const Condition& condition : conditions) {
    if (condition.judged(limits, underScheduler) && condition.sustained(seen))
      names.push_back(condition.finding);
  }
  return names;
}

}  // namespace ktstr
