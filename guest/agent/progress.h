// How far the workers have come: read when something changes, for the host's timeline.
//
// Iterations come from the workers' shared pages, CPU time and run delay from /proc/TID/schedstat. No worker
// is waited for or interrupted. A reading costs the agent, in a guest on TCG on a busy host: of 1000 workers
// 2 ms for their iterations; of 128 workers 7 ms with their times, which are therefore read of no more than
// maxTimedWorkers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest/agent/workers.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

inline constexpr size_t maxTimedWorkers = 128;
// More work groups than this become one for each cgroup; if those are as many, one "*" for all.
inline constexpr size_t maxProgressGroups = 128;

// As GroupProgress.
struct GroupReading {
  uint32_t step = 0;
  std::string cgroup, work;
  uint32_t workers = 0;
  uint64_t iterations = 0, cpuNs = 0, runDelayNs = 0;
  bool timesValid = false;
};

struct ProgressReading {
  uint64_t atNs = 0;  // CLOCK_MONOTONIC
  std::vector<GroupReading> groups;

  void writeProgress(rpc::GuestEvent::Builder event) const;
  void writeBefore(rpc::GuestEvent::Builder event) const;  // and beganNs
};

ProgressReading readProgress(const std::vector<Worker>& workers);

// Makes one of all that are in one cgroup, or of all.
std::vector<GroupReading> mergeReadings(const std::vector<GroupReading>& groups, size_t limit);

}  // namespace ktstr::agent
