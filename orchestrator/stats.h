// Statistics of work groups from the reports of their workers. A group is what one WorkSpec makes: (step,
// cgroup, work name). A figure that cannot be had is absent, never 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/record.capnp.h"
#include "protocol/report.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

// Counts by the largest value of their bucket, in ns.
using WakeHistogram = std::map<uint64_t, uint64_t>;

struct GroupFigures {
  uint32_t step = 0;     // index in the scenario
  std::string stepName;  // its name, or "step N" if it has none
  std::string cgroup;
  std::string work;
  std::optional<rpc::WorkType::Which> type;  // absent: the scenario declares no such group
  bool isCpuBound = false;
  bool hasWakeLatency = false;
  bool hasPages = false;  // its type reports where its memory is
  rpc::MemPolicy::Reader memory;
  bool hasCpuset = false;  // its cgroup has one of its own
  uint32_t declared = 0;   // workers the scenario declares
  std::vector<rpc::WorkerReport::Reader> reports;

  uint64_t iterations = 0;
  uint64_t migrations = 0;
  uint64_t wakeSamples = 0;
  std::optional<double> iterationsPerSecond;  // sum over the workers of iterations / wall time
  std::optional<double> spreadPct;            // needs two workers with wall time
  std::optional<double> maxGapMs;
  std::optional<double> p50WakeLatencyUs, p99WakeLatencyUs;  // pooled over all workers
  std::optional<double> wakeLatencyCv;                       // needs two samples, and a mean above 0
  std::optional<double> meanRunDelayUs;                      // run delay / timeslices, pooled
  std::optional<double> throughputCv;    // of workRate(); needs two workers that have one, and a mean above 0
  std::optional<double> migrationRatio;  // migrations / iterations; needs an iteration
  std::vector<uint32_t> cpusSeen, cpuset;  // unions, sorted
};

// Share of wall time on CPU, 0..100, or nothing without wall time, or where the CPU time is not known. Two
// clocks measure the two: of a worker that never leaves its CPU the kernel's may say a little more than its
// own, and more than all of a CPU nobody gets.
std::optional<double> cpuSharePct(rpc::WorkerReport::Reader report);

// Work units per second of CPU time, or nothing without CPU time.
std::optional<double> workRate(rpc::WorkerReport::Reader report);

// Coefficient of variation: population standard deviation over mean. Nothing of fewer than two values, or of
// a mean that is not above 0.
std::optional<double> variation(const std::vector<double>& values);
// The same of samples, each taken for its bucket's bound.
std::optional<double> variation(const WakeHistogram& histogram);

// Nearest rank: the smallest bucket bound that at least ceil(count * fraction) samples do not exceed. Nothing
// if the histogram is empty.
std::optional<uint64_t> percentileNs(const WakeHistogram& histogram, double fraction);

// Its name, or "step 2" if it has none; "backdrop".
std::string stepNameOf(rpc::Scenario::Reader scenario, uint32_t step);

// Every declared group (also those of the backdrop, first, and of spawn operations) in the scenario's order,
// with or without reports, then groups nobody declared. The readers in the result refer to the messages of
// `reports`.
std::vector<GroupFigures> groupReports(rpc::Scenario::Reader scenario,
                                       std::span<const rpc::WorkerReport::Reader> reports);

// As one GroupStats of a record; absent figures are NaN.
void writeGroup(const GroupFigures& group, rpc::GroupStats::Builder out);

}  // namespace ktstr
