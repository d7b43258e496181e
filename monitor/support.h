// What of a kernel the monitor can see: for each of its features, whether this kernel has the symbols and
// members that the feature reads, and which where kernels differ. Never by version.
#pragma once

#include <string>
#include <vector>

#include "monitor/btf_types.h"
#include "monitor/kernel.h"

namespace ktstr {

struct Support {
  std::string feature;  // "event counters"
  bool available = false;
  std::string place;    // what it is read from: "scx_sched_pcpu.event_stats"; empty if it is not available
  std::string missing;  // of each of the ways to read it: "no member scx_sched.pcpu; no symbol event_stats"
};

// All features, in the order of README's table.
std::vector<Support> supportOf(const GuestKernel& kernel, BtfTypes& types);

}  // namespace ktstr
