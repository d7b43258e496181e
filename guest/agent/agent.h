// One run in the guest, from orders to the end of the scheduler.
#pragma once

#include <cstdint>
#include <string>

#include "guest/agent/channel.h"

namespace ktstr::agent {

// Where the agent finds what it works with; the defaults are those of PID 1.
struct Environment {
  std::string cgroupMount = "/sys/fs/cgroup";
  std::string schedExt = "/sys/kernel/sched_ext";
  std::string image = "/ktstr";  // directory with the files `complete` and `run`
  std::string inject = {};       // see inject.h
  uint32_t uptimeMs = 0;         // when the agent began
};

// Reads the orders from the channel, starts the scheduler, runs the scenario, stops the scheduler. Every
// failure is posted, none thrown. The last event is the caller's, by Channel::done().
void runOrders(Channel& channel, const Environment& environment);

}  // namespace ktstr::agent
