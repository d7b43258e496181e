// The parts of judge(): what the guest told, and the three checks. Each adds its findings.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orchestrator/judge.h"
#include "orchestrator/schedulers.h"

namespace ktstr {

// The guest's events, boiled down. Texts are clean.
struct GuestStory {
  bool ready = false;
  bool realTimeHints = false;
  bool schedulerAttached = false;  // at any time
  std::vector<AttachedTime> attached;
  bool schedulerEnded = false;  // by itself
  uint64_t schedulerEndNs = 0;  // guest time of the first that was seen of that
  std::string schedulerEnd;     // "exit code 1", "SIGSEGV"; a crash also if it had been asked to end
  bool scenarioStarted = false, scenarioEnded = false, done = false;
  uint64_t scenarioStartNs = 0, scenarioEndNs = 0;
  uint64_t dropped = 0;
  std::vector<rpc::GuestFailure::Reader> failures;
  std::string schedulerLog;  // its last lines
};

GuestStory readEvents(std::span<const rpc::GuestEvent::Reader> events);

// Causes: the harness, the console, the guest's failures, phases that took too long.
void judgeLifecycle(const Evidence& evidence, const GuestStory& story, Findings& findings);
// A guest that did not report its end although nothing so far explains it.
void judgeReportComplete(const Evidence& evidence, const GuestStory& story, Findings& findings);

// What follows takes `explained`: a cause for missing evidence is already named.
void judgeWorkers(const Evidence& evidence, const GuestStory& story, bool explained, Findings& findings);
void judgeMonitor(const Evidence& evidence, const GuestStory& story, bool explained, Findings& findings);

// Of what the monitor saw, what lasted too long: the findings that sustainedViolations() names.
void judgeConditions(const Evidence& evidence, Findings& findings);
// False: too many of the monitor's samples cannot be true.
bool believable(const MonitorEvidence& seen);
// A limit on one of sched_ext's event counters.
struct RateLimit {
  Limit Limits::*limit;
  RateEvidence MonitorEvidence::*seen;
  const char* event;
};
inline constexpr RateLimit fallbackRateLimit = {&Limits::maxFallbackRate, &MonitorEvidence::fallback,
                                                "SCX_EV_SELECT_CPU_FALLBACK"},
                           keepLastRateLimit = {&Limits::maxKeepLastRate, &MonitorEvidence::keepLast,
                                                "SCX_EV_DISPATCH_KEEP_LAST"};

// CPUs that got nothing to run although workers waited that may run on them. Proven by counting: of workers
// that always want to run, as many as the CPUs that are theirs in all, one waits whenever one of those CPUs
// idles. Judged in steps without operations that may take CPUs or work away, of groups that nothing else
// holds back; what was asked for and is not judged for such operations is "limit-not-judged".
void judgeCpus(const Evidence& evidence, const GuestStory& story, Findings& findings);

// Writes of BPF maps that were not made, or did not stay.
void judgeMapWrites(const Evidence& evidence, bool explained, Findings& findings);
// What the last operation writeMap wrote before this guest time, and how long before, as a line; empty: none
// did.
std::string writesBefore(const Evidence& evidence, uint64_t guestNs);

// A watchdog's timeout that was not set, or is another than was asked for.
void judgeWatchdog(const Evidence& evidence, bool explained, Findings& findings);

// Performance mode that the guest does not see, or whose CPUs the host used otherwise.
void judgePerformance(const Evidence& evidence, const GuestStory& story, Findings& findings);

// The second pass against the first.
void judgeRelative(const Evidence& evidence, const GuestStory& story, Findings& findings);

// "limit-not-judged": inconclusive, because `why`.
Finding notJudged(const Limits& limits, Limit Limits::*which, const std::string& why);

// Turns a failure that the host explains into "host-starved": inconclusive, with what was lost.
void blameHost(Finding& finding, const HostLack& lack);

// The last `count` lines.
std::string lastLines(const std::string& text, size_t count);
std::string joinLines(const std::vector<std::string>& lines);  // without the empty ones
std::string formatMs(double milliseconds);                     // "250.5 ms", "12.3 s"
std::string formatNumber(double value);  // two digits after the point below 100, one above, no trailing zeros
// What runs the guest's tasks, for messages: "scx_simple" or "EEVDF".
std::string schedulerName(const Evidence& evidence);

}  // namespace ktstr
