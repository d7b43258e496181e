#include "orchestrator/cpu_sight.h"

namespace ktstr {

namespace {

bool wantsToRun(const CpuSight& sight) {
  return sight.readable && (sight.asked || !sight.idle);
}

}  // namespace

CpuSight sightOf(rpc::Sample::Reader sample, rpc::CpuSample::Reader cpu) {
  CpuSight sight;
  sight.readable = cpu.getValid() && !cpu.getTorn();
  sight.nrRunning = cpu.getNrRunning();
  sight.clock = cpu.getClock();
  sight.idle = cpu.getCurrPid() == 0;
  sight.asked = cpu.getAsked();
  sight.hostTimeNs = cpu.getHostTimeNs();
  sight.hostTimeAtNs = sample.getVcpuTimesAtNs();
  return sight;
}

bool wantedToRun(const CpuSight& before, const CpuSight& now) {
  return !before.rested && wantsToRun(before) && wantsToRun(now);
}

bool busyBetween(const CpuSight& before, const CpuSight& now) {
  return before.readable && now.readable && before.nrRunning > 0 && now.nrRunning > 0;
}

bool stalledBetween(const CpuSight& before, const CpuSight& now) {
  const auto leavesItsLast = [](const CpuSight& sight) {
    return sight.readable && sight.nrRunning == 0 && !sight.idle;
  };
  return (busyBetween(before, now) || (leavesItsLast(before) && leavesItsLast(now))) && now.clock != 0 &&
         before.clock == now.clock;
}

CpuSight sightWithout(const CpuSight& before, CpuSight now) {
  now.hostTimeNs = before.hostTimeNs;
  now.hostTimeAtNs = before.hostTimeAtNs;
  now.rested = before.rested || !wantsToRun(before);
  return now;
}

std::optional<bool> starvedBetween(const CpuSight& before, const CpuSight& now) {
  if (before.hostTimeAtNs == 0 || now.hostTimeAtNs <= before.hostTimeAtNs) return std::nullopt;
  if (now.hostTimeNs < before.hostTimeNs) return std::nullopt;
  const bool wentIdle = before.starved && wantsToRun(before) && now.readable && now.nrRunning > 0;
  if (!wantedToRun(before, now) && !wentIdle) return false;
  const auto wall = static_cast<double>(now.hostTimeAtNs - before.hostTimeAtNs);
  return static_cast<double>(now.hostTimeNs - before.hostTimeNs) < starvedBelowShare * wall;
}

}  // namespace ktstr
