// What the timeline keeps of each of the monitor's samples.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "orchestrator/cpu_sight.h"
#include "orchestrator/schedstat.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

struct TimelineSample {
  uint64_t atNs = 0;                            // host CLOCK_MONOTONIC
  std::optional<double> imbalance;              // as imbalanceRatio() in monitor_summary.h
  std::optional<double> maxDsqDepth, dsqDepth;  // of a CPU's local DSQ: largest, mean
  std::optional<double> nrRunning;              // mean of a CPU
  bool stalled = false;  // a CPU since the sample before, and not for the host (cpu_sight.h)
  std::optional<SchedstatCounts> schedstat;    // since the sample before
  std::optional<uint64_t> fallback, keepLast;  // of all CPUs, since the attached scheduler's start
};

class TimelineSamples {
 public:
  static constexpr size_t limit = 100'000;  // nearly three hours; later ones are not kept

  // Every record in order. A sample with a local DSQ of implausible depth (monitor_summary.h), or one that
  // is not later than the one before, is left out.
  void add(rpc::MonitorRecord::Reader record);
  const std::vector<TimelineSample>& all() const { return samples_; }

 private:
  bool stalledSince(rpc::Sample::Reader sample);
  std::optional<uint64_t> counted(rpc::Sample::Reader sample, std::optional<unsigned> event) const;

  std::optional<unsigned> fallback_, keepLast_;  // places in CpuSample.scxEvents
  std::map<uint32_t, CpuSight> last_;
  SchedstatWatch schedstat_;
  std::vector<TimelineSample> samples_;
};

}  // namespace ktstr
