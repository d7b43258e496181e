#include "orchestrator/cpu_sight.h"

namespace ktstr {

CpuSight sightOf(rpc::Sample::Reader sample, rpc::CpuSample::Reader cpu) {
  CpuSight sight;
  sight.readable = cpu.getValid() && !cpu.getTorn();
  sight.nrRunning = cpu.getNrRunning();
  sight.clock = cpu.getClock();
  sight.idle = cpu.getCurrPid() == 0;
  sight.hostTimeNs = cpu.getHostTimeNs();
  sight.hostTimeAtNs = sample.getVcpuTimesAtNs();
  return sight;
}

bool busyBetween(const CpuSight& before, const CpuSight& now) {
  return before.readable && now.readable && before.nrRunning > 0 && now.nrRunning > 0;
}

bool stalledBetween(const CpuSight& before, const CpuSight& now) {
  return busyBetween(before, now) && now.clock != 0 && before.clock == now.clock;
}

std::optional<bool> starvedBetween(const CpuSight& before, const CpuSight& now) {
  if (before.hostTimeAtNs == 0 || now.hostTimeAtNs <= before.hostTimeAtNs) return std::nullopt;
  if (now.hostTimeNs < before.hostTimeNs) return std::nullopt;
  const bool wentIdle = before.starved && !before.idle;
  if (!busyBetween(before, now) || ((before.idle || now.idle) && !wentIdle)) return false;
  const auto wall = static_cast<double>(now.hostTimeAtNs - before.hostTimeAtNs);
  return static_cast<double>(now.hostTimeNs - before.hostTimeNs) < starvedBelowShare * wall;
}

}  // namespace ktstr
