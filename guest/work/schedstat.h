// What the kernel's scheduler counts of a task (/proc/TID/schedstat).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace ktstr::work {

struct Schedstat {
  uint64_t cpuNs = 0, runDelayNs = 0, timeslices = 0;  // since the task began
};

// Of a thread; 0: of the calling one. Nothing: it is gone, or the kernel does not count. A wait that goes on
// is not yet in runDelayNs.
std::optional<Schedstat> schedstatOf(pid_t tid);

}  // namespace ktstr::work
