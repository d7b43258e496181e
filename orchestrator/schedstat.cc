#include "orchestrator/schedstat.h"

#include <utility>

namespace ktstr {
namespace {

std::optional<double> share(double part, double whole) {
  return whole > 0 ? std::optional(part / whole) : std::nullopt;
}

}  // namespace

void SchedstatCounts::add(const SchedstatCounts& more) {
  ns += more.ns;
  runDelayNs += more.runDelayNs;
  schedules += more.schedules;
  wakeups += more.wakeups;
  localWakeups += more.localWakeups;
}

std::optional<double> SchedstatCounts::runDelayMsPerSecond() const {
  return share(static_cast<double>(runDelayNs) * 1e3, static_cast<double>(ns));
}

std::optional<double> SchedstatCounts::schedulesPerSecond() const {
  return schedules == 0 ? std::nullopt : share(static_cast<double>(schedules) * 1e9, static_cast<double>(ns));
}

std::optional<double> SchedstatCounts::localWakeupShare() const {
  return share(static_cast<double>(localWakeups), static_cast<double>(wakeups));
}

std::optional<SchedstatCounts> SchedstatWatch::next(rpc::Sample::Reader sample) {
  const auto before = std::exchange(last_, {});
  const uint64_t beforeAtNs = std::exchange(lastAtNs_, sample.getAtNs());
  SchedstatCounts counts;
  counts.ns = lastAtNs_ - beforeAtNs;
  bool whole = !before.empty() && lastAtNs_ > beforeAtNs;
  for (const auto cpu : sample.getCpus()) {
    const auto known = before.find(cpu.getCpu());
    whole = whole && cpu.hasSchedstat() && known != before.end();
    if (!cpu.hasSchedstat()) continue;
    const auto now = cpu.getSchedstat();
    const Last is = last_[cpu.getCpu()] = {now.getRunDelayNs(), now.getSchedCount(), now.getTtwuCount(),
                                           now.getTtwuLocal()};
    if (!whole) continue;
    const Last& was = known->second;
    counts.runDelayNs += is[0] - was[0];
    counts.schedules += static_cast<uint32_t>(is[1] - was[1]);  // of 32 bits in the kernel
    counts.wakeups += static_cast<uint32_t>(is[2] - was[2]);
    counts.localWakeups += static_cast<uint32_t>(is[3] - was[3]);
    whole = is[0] >= was[0];
  }
  return whole ? std::optional(counts) : std::nullopt;
}

}  // namespace ktstr
