#include "orchestrator/timeline_samples.h"

#include <algorithm>

namespace ktstr {
namespace {

// Fills what is read from each CPU.
void readCpus(rpc::Sample::Reader sample, TimelineSample& out) {
  uint32_t readable = 0, withDsq = 0, deepest = 0;
  uint64_t running = 0, depth = 0;
  for (const auto cpu : sample.getCpus()) {
    if (sightOf(sample, cpu).readable) {
      readable++;
      running += cpu.getNrRunning();
    }
    if (!cpu.getScxValid()) continue;
    withDsq++;
    depth += cpu.getLocalDsqDepth();
    deepest = std::max(deepest, cpu.getLocalDsqDepth());
  }
  if (readable > 0) out.nrRunning = static_cast<double>(running) / readable;
  if (withDsq > 0) {
    out.dsqDepth = static_cast<double>(depth) / withDsq;
    out.maxDsqDepth = deepest;
  }
}

}  // namespace

void TimelineSamples::add(rpc::MonitorRecord::Reader record, const SampleSight& sight) {
  if (record.isAttached()) {
    fallback_.find(record.getAttached());
    keepLast_.find(record.getAttached());
  }
  if (!record.isSample() || samples_.size() >= limit) return;
  const auto sample = record.getSample();
  if (!samples_.empty() && sample.getAtNs() <= samples_.back().atNs) return;
  TimelineSample kept;
  kept.schedstat = schedstat_.next(sample);
  if (sight.implausible) return;
  kept.atNs = sample.getAtNs();
  kept.stalled = sight.stalled;
  readCpus(sample, kept);
  kept.imbalance = imbalanceRatio(sample);
  kept.fallback = fallback_.sum(sample);
  kept.keepLast = keepLast_.sum(sample);
  samples_.push_back(kept);
}

}  // namespace ktstr
