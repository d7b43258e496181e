// What the kernel counts of its own scheduling (CpuSample.schedstat), all CPUs together, from sample to
// sample.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "protocol/sample.capnp.h"

namespace ktstr {

// Counted in one stretch of time, or in several together.
struct SchedstatCounts {
  uint64_t ns = 0;  // host time
  uint64_t runDelayNs = 0, schedules = 0, wakeups = 0, localWakeups = 0;

  void add(const SchedstatCounts& more);
  // As in MonitorSummary; nothing without time. Where kernel.sched_schedstats is 0 the kernel counts delay
  // alone: then there are no schedules and no wakeups, and nothing is told of them.
  std::optional<double> runDelayMsPerSecond() const;
  std::optional<double> schedulesPerSecond() const;
  std::optional<double> localWakeupShare() const;
};

class SchedstatWatch {
 public:
  // Since the sample before, of which each must be given. Nothing if a CPU's counters could not be read in
  // one of the two.
  std::optional<SchedstatCounts> next(rpc::Sample::Reader sample);

 private:
  using Last = std::array<uint64_t, 4>;
  std::map<uint32_t, Last> last_;
  uint64_t lastAtNs_ = 0;
};

}  // namespace ktstr
