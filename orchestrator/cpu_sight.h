// What of one CPU is compared from sample to sample, and the two predicates on it: did the CPU stall, and did
// the host let its vCPU run. Nothing else decides either.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/sample.capnp.h"

namespace ktstr {

struct CpuSight {
  bool readable = false;  // valid and not torn
  uint32_t nrRunning = 0;
  uint64_t clock = 0;
  bool idle = false;          // the idle task was on it: its vCPU halts, whatever waits in the runqueue
  uint64_t hostTimeNs = 0;    // host CPU time of its vCPU
  uint64_t hostTimeAtNs = 0;  // host clock of that; 0: not known
  bool starved = false;       // starvedBetween() the sight before and this one; not told by the sample
  // Idle, and others have asked it to reschedule or to answer a call: its vCPU wants to run.
  bool asked = false;
  bool rested = false;  // it did not want to run in a sight since that of hostTimeAtNs, before this one
};
CpuSight sightOf(rpc::Sample::Reader sample, rpc::CpuSample::Reader cpu);
// Of a sample that does not tell the vCPUs' times, although one before it did: with the time last told, so
// that the next that is told covers all of it.
CpuSight sightWithout(const CpuSight& before, CpuSight now);

// Its vCPU wanted to run in both, and in all between them that do not tell the vCPUs' times.
bool wantedToRun(const CpuSight& before, const CpuSight& now);

// Both readable and with a task to run.
bool busyBetween(const CpuSight& before, const CpuSight& now);

// A stall: busy in both, and a clock that is known (not 0) and the same. Busy in one of the two alone would
// be another number of tasks under the same clock, but no task comes or goes without the kernel's setting the
// clock first: such a pair was read in the midst of that, and the next one shows whether it stands. Without a
// task in both, but not yet idle, it is in the scheduler, which has taken the last one away.
bool stalledBetween(const CpuSight& before, const CpuSight& now);

// A vCPU that wants to run and gets less than this share of a host CPU is starved by the host. A tenth is 10
// ms in a period of the monitor's, a timer tick at the slowest HZ there is (100), so a CPU that is fed and
// stands still for Limits::sustainedSamples has missed five ticks at least, twelve at HZ=250; with a shorter
// period there are more samples in those. A vCPU of an
// overcommitted host (four busy ones on a CPU) is fed by this measure.
inline constexpr double starvedBelowShare = 0.1;

// Whether the host starved the CPU's vCPU between two samples. Nothing: its host time is not known in one of
// them. False where it was idle in either: it halts by its own choice, and if work waits for it then nobody
// has woken it. Who has been woken and has not done what he was asked for does not halt by choice, though.
// And one that was starved at work and is seen idle next may have gone there at the end of that time, and
// counts once more. No longer: from then on it halts, and uses no host time for that reason.
std::optional<bool> starvedBetween(const CpuSight& before, const CpuSight& now);

}  // namespace ktstr
