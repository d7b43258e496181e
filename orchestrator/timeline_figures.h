// The figures of one phase of the timeline, and what changed from the phase before.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "orchestrator/timeline_changes.h"
#include "orchestrator/timeline_samples.h"

namespace ktstr {

// As PhaseFigures; what cannot be had is absent.
struct WorkFigures {
  uint32_t workers = 0;
  uint64_t iterations = 0, changeIterations = 0;
  std::optional<double> iterationsPerSecond, cpuShare, runDelayMs;
  std::string makeup;  // which work groups of how many workers: figures of equal ones compare
};

// By cgroup, the machine's root as "/"; all of them as "".
using WorkByCgroup = std::map<std::string, WorkFigures>;

// Of the groups that are there at the end, from two readings `seconds` apart. One that is not in the first
// had not begun. A count that went backwards leaves the figures of its cgroup absent.
WorkByCgroup workBetween(Progress from, Progress to, double seconds);
// Adds what groups did while a change took effect. What those did that it ended is in their reports alone.
void addChangeIterations(Progress before, Progress after, WorkByCgroup& figures);

// As in TimelinePhase. Rates are over the time between samples that tell the counters, without those between
// which they began anew.
struct MonitorFigures {
  uint32_t samples = 0, stalledSamples = 0;
  std::optional<double> maxImbalance, imbalance, maxDsqDepth, dsqDepth, nrRunning, fallbackRate, keepLastRate;
  SchedstatCounts schedstat;
};
MonitorFigures monitorFigures(std::span<const TimelineSample> samples);

// What is told as a change: a difference of more than this.
inline constexpr double imbalanceStep = 0.5, dsqDepthStep = 3, eventRateStep = 10;  // the latter 1/s
inline constexpr double throughputStep = 0.3;                                       // of what it was
// "imbalance +1.2", "DSQ depth -4", "fallback +31 /s", "throughput -45 %", "a: throughput -100 %". Throughput
// is compared where the same work runs, the monitor's figures where both have samples.
std::vector<std::string> changesOf(const WorkByCgroup& was, const WorkByCgroup& is);
std::vector<std::string> changesOf(const MonitorFigures& was, const MonitorFigures& is);

}  // namespace ktstr
