// What the timeline keeps of each of the monitor's samples.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "orchestrator/monitor_summary.h"
#include "orchestrator/schedstat.h"
#include "orchestrator/scx_rate.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

struct TimelineSample {
  uint64_t atNs = 0;                            // host CLOCK_MONOTONIC
  std::optional<double> imbalance;              // as imbalanceRatio() in monitor_summary.h
  std::optional<double> maxDsqDepth, dsqDepth;  // of a CPU's local DSQ: largest, mean
  std::optional<double> nrRunning;              // mean of a CPU
  bool stalled = false;                         // as in SampleSight
  std::optional<SchedstatCounts> schedstat;     // since the sample before
  std::optional<uint64_t> fallback, keepLast;   // of all CPUs, since the attached scheduler's start
};

class TimelineSamples {
 public:
  static constexpr size_t limit = 100'000;  // nearly three hours at the usual period; later ones are not kept

  // Every record in order, with what MonitorAnalysis::add() says of it. A sample that is not to be believed,
  // or is not later than the one before, is left out.
  void add(rpc::MonitorRecord::Reader record, const SampleSight& sight);
  const std::vector<TimelineSample>& all() const { return samples_; }

 private:
  ScxRate fallback_{"SCX_EV_SELECT_CPU_FALLBACK"}, keepLast_{"SCX_EV_DISPATCH_KEEP_LAST"};
  SchedstatWatch schedstat_;
  std::vector<TimelineSample> samples_;
};

}  // namespace ktstr
