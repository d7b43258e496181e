// Judging one work group: what its parts share.
#pragma once

#include <string>

#include "orchestrator/frozen.h"
#include "orchestrator/judge_parts.h"

namespace ktstr {

// The guest's time of an event against the monitor's: the news of the scenario's start takes its time.
inline constexpr double clockSlackMs = 500;

double milliseconds(uint64_t nanoseconds);
std::string workerName(rpc::WorkerReport::Reader report);  // "work[index]"
bool endedClean(rpc::WorkerReport::Reader report);
// What it reports of itself, as a line: what it did, what it waited, where it ran. `startNs`: the guest's
// clock when its run of the scenario began; 0: not known.
std::string traceOf(rpc::WorkerReport::Reader report, uint64_t startNs);
// "2500 ms into the scenario"; empty: that is not known.
std::string momentOf(uint64_t atNs, uint64_t startNs);
// Its own p99 wake latency.
std::optional<uint64_t> p99WakeNs(rpc::WorkerReport::Reader report);
// It ended clean, without having finished a unit of work.
bool neverWorked(rpc::WorkerReport::Reader report);

struct GroupCase {
  const Evidence& evidence;
  const GuestStory& story;
  const FrozenTimes& frozen;
  const GroupFigures& group;
  Findings& findings;

  const Limits& limits() const { return evidence.limits; }
  const Limit& limit(Limit Limits::*which) const { return evidence.limits.*which; }
  std::string limitText(Limit Limits::*which) const { return describeLimit(evidence.limits, which); }

  std::string place() const;      // cgroup "a" of main
  std::string groupName() const;  // "spin" in cgroup "a" of main
  Finding about(const char* name, std::string message, std::string hint,
                Outcome outcome = Outcome::FAIL) const;
  Finding about(rpc::WorkerReport::Reader report, const char* name, const std::string& message,
                std::string hint, Outcome outcome = Outcome::FAIL) const;
  // A limit that was broken: with both numbers.
  void broken(Finding finding, double value, Limit Limits::*which) const;

  // What it is judged by was not measured.
  void notJudged(Limit Limits::*which, const std::string& why) const;

  // How much of the last `lengthNs` before its longest gap's end the worker was frozen by the scenario
  // itself.
  uint64_t frozenNs(rpc::WorkerReport::Reader report, uint64_t lengthNs) const;
  std::string trace(rpc::WorkerReport::Reader report) const { return traceOf(report, story.scenarioStartNs); }
  // While its step's workers ran, in ms since the scenario started; infinite where the guest does not tell.
  Window stepTime() const;
  std::string stepLasted() const;  // "main lasted from 12 ms to 2015 ms of the scenario"; empty: not told

  // Of a wait of this length at some time of the group's step.
  HostLack lackInStep(double waitMs) const;
  // The watchdog has ended the scheduler because tasks waited: that these did follows.
  bool stallIsNamed() const { return findings.has("scheduler-stalled"); }
};

void judgeWorker(const GroupCase& it, rpc::WorkerReport::Reader report);
// Spread, wake latency, throughput, migrations.
void judgeGroup(const GroupCase& it);
// Where the pages of its workers are.
void judgePages(const GroupCase& it);

}  // namespace ktstr
