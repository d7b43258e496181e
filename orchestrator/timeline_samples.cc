#include "orchestrator/timeline_samples.h"

#include <algorithm>

#include "orchestrator/monitor_summary.h"

namespace ktstr {
namespace {

std::optional<unsigned> placeOf(capnp::List<capnp::Text>::Reader names, std::string_view name) {
  for (unsigned i = 0; i < names.size(); i++) {
    if (name == names[i].cStr()) return i;
  }
  return std::nullopt;
}

// Fills what is read from each CPU. False: one of them is not to be believed.
bool readCpus(rpc::Sample::Reader sample, TimelineSample& out) {
  uint32_t readable = 0, withDsq = 0, deepest = 0;
  uint64_t running = 0, depth = 0;
  for (const auto cpu : sample.getCpus()) {
    if (sightOf(sample, cpu).readable) {
      readable++;
      running += cpu.getNrRunning();
    }
    if (!cpu.getScxValid()) continue;
    if (cpu.getLocalDsqDepth() > maxPlausibleDsqDepth) return false;
    withDsq++;
    depth += cpu.getLocalDsqDepth();
    deepest = std::max(deepest, cpu.getLocalDsqDepth());
  }
  if (readable > 0) out.nrRunning = static_cast<double>(running) / readable;
  if (withDsq > 0) {
    out.dsqDepth = static_cast<double>(depth) / withDsq;
    out.maxDsqDepth = deepest;
  }
  return true;
}

}  // namespace

void TimelineSamples::add(rpc::MonitorRecord::Reader record) {
  if (record.isAttached()) {
    fallback_ = placeOf(record.getAttached().getScxEventNames(), "SCX_EV_SELECT_CPU_FALLBACK");
    keepLast_ = placeOf(record.getAttached().getScxEventNames(), "SCX_EV_DISPATCH_KEEP_LAST");
  }
  if (!record.isSample() || samples_.size() >= limit) return;
  const auto sample = record.getSample();
  if (!samples_.empty() && sample.getAtNs() <= samples_.back().atNs) return;
  TimelineSample kept;
  kept.atNs = sample.getAtNs();
  kept.stalled = stalledSince(sample);
  kept.schedstat = schedstat_.next(sample);
  if (!readCpus(sample, kept)) return;
  kept.imbalance = imbalanceRatio(sample);
  kept.fallback = counted(sample, fallback_);
  kept.keepLast = counted(sample, keepLast_);
  samples_.push_back(kept);
}

bool TimelineSamples::stalledSince(rpc::Sample::Reader sample) {
  bool stalled = false;
  std::map<uint32_t, CpuSight> now;
  for (const auto cpu : sample.getCpus()) {
    const CpuSight sight = now[cpu.getCpu()] = sightOf(sample, cpu);
    const auto before = last_.find(cpu.getCpu());
    if (before == last_.end()) continue;
    const bool starved = starvedBetween(before->second, sight).value_or(false);
    now[cpu.getCpu()].starved = starved;
    stalled = stalled || (!starved && stalledBetween(before->second, sight));
  }
  last_ = std::move(now);
  return stalled;
}

std::optional<uint64_t> TimelineSamples::counted(rpc::Sample::Reader sample,
                                                 std::optional<unsigned> event) const {
  if (!event) return std::nullopt;
  std::optional<uint64_t> sum;
  for (const auto cpu : sample.getCpus()) {
    if (cpu.getScxEvents().size() > *event) sum = sum.value_or(0) + cpu.getScxEvents()[*event];
  }
  return sum;
}

}  // namespace ktstr
