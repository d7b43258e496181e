// When the host kept the machine's vCPUs from running, and how much of a wait that explains. Times are in ms
// since the first sample of the scenario (before it: since the first sample of all).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace ktstr {

// A stretch of samples between which the host starved a vCPU (starvedBetween() in cpu_sight.h).
struct Starvation {
  int32_t cpu = -1;  // -1: the machine as a whole did not move, and the VMM did not tell its vCPUs' times
  double fromMs = 0, toMs = 0;
  double hostMs = 0;  // what the vCPU got of a host CPU all the same; 0 for the machine as a whole
};

// A stretch that goes on where one of the same CPU has ended makes it longer.
void addStarvation(std::vector<Starvation>& list, const Starvation& next);

struct Window {
  double fromMs = -std::numeric_limits<double>::infinity();
  double toMs = std::numeric_limits<double>::infinity();
};

// What a vCPU lost in a window.
struct HostLack {
  int32_t cpu = -1;             // as in Starvation
  double lostMs = 0;            // in which it was starved
  double hostMs = 0;            // it got meanwhile
  double fromMs = 0, toMs = 0;  // first and last of it

  // "the host gave vCPU 1 only 12 ms of CPU time in 3100 ms (0.4 %), between 1200 and 4300 ms of the
  // scenario"
  std::string describe() const;
  // It is the host's doing if a wait of this length was one for the host for more than half of the time.
  bool explains(double waitMs) const { return lostMs > waitMs / 2; }
};

// Of one vCPU. The machine as a whole counts for each.
HostLack hostLackOf(const std::vector<Starvation>& list, int32_t cpu, Window window = {});

// Of the most starved vCPU. What the others did meanwhile tells nothing of the scheduler either: they wait,
// well fed, for the lock it holds and the answer it owes, and under TCG for its emulator's.
HostLack hostLack(const std::vector<Starvation>& list, Window window = {});

// The same of that window of `ms` in which it was most: for a wait of which only the length is known.
HostLack densestLack(const std::vector<Starvation>& list, double ms);

// What of it was in the window.
std::vector<Starvation> within(const std::vector<Starvation>& list, Window window);

}  // namespace ktstr
