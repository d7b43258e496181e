// What the host did to the machine, sample by sample; and the record's summary.
#include <algorithm>
#include <limits>
#include <utility>

#include "orchestrator/monitor_summary.h"

namespace ktstr {

namespace {

constexpr uint64_t lateFactor = 3;
constexpr uint64_t usualPeriodNs = uint64_t{usualSamplePeriodMs} * 1'000'000;

}  // namespace

bool MonitorAnalysis::HostSight::mayBeStarved() const {
  return machineStarved || untold ||
         std::any_of(starved.begin(), starved.end(), [](auto& cpu) { return cpu.second; });
}

MonitorAnalysis::HostSight MonitorAnalysis::lookAtHost(rpc::Sample::Reader sample) {
  const bool first = evidence_.allSamples == 0;
  const uint64_t atNs = sample.getAtNs(), jiffies = sample.getJiffies();
  const bool late = !first && atNs > lastAtNs_ + lateFactor * periodNs_;
  const bool stoodStill = !first && jiffies != 0 && jiffies == lastJiffies_ && anyCpu(sample, busyBetween);
  HostSight host;
  bool anyFed = false;  // and busy
  for (const auto cpu : sample.getCpus()) {
    const CpuSight before = last_[cpu.getCpu()], now = sightOf(sample, cpu);
    const auto starved = starvedBetween(before, now);
    if (!starved) continue;
    host.starved[cpu.getCpu()] = *starved;
    anyFed = anyFed || (!*starved && busyBetween(before, now));
  }
  host.untold = toldAtNs_ != 0 && sample.getVcpuTimesAtNs() == 0;
  host.machineStarved = host.starved.empty() && (late || stoodStill);
  if (host.untold) return host;  // whether it hangs the next one that is told shows
  const bool hangs = stoodStill && !late && (host.starved.empty() || anyFed);
  if (!hangs) {
    evidence_.standstillSamples = 0;
  } else if (periodNs_ >= usualPeriodNs || evidence_.standstillSamples == 0 ||
             atNs >= standstillAtNs_ + usualPeriodNs) {
    ++evidence_.standstillSamples;
    standstillAtNs_ = atNs;
  }
  return host;
}

void MonitorAnalysis::keepHost(rpc::Sample::Reader sample, const HostSight& host) {
  const double toMs = sinceOriginMs(sample.getAtNs());
  auto& starved = inBaseline_ ? evidence_.baselineStarved : evidence_.starved;
  if (host.machineStarved)
    addStarvation(host.untold ? silent_ : starved, {-1, sinceOriginMs(lastAtNs_), toMs, 0});
  if (host.untold) return;
  // Who wanted to run all along tells more, by what he got.
  if (!anyCpu(sample, wantedToRun)) starved.insert(starved.end(), silent_.begin(), silent_.end());
  silent_.clear();
  const double sinceMs = sinceOriginMs(toldAtNs_), fromMs = std::max(0.0, sinceMs);
  for (const auto cpu : sample.getCpus()) {
    const auto known = host.starved.find(cpu.getCpu());
    if (known == host.starved.end()) continue;
    const CpuSight before = last_[cpu.getCpu()], now = sightOf(sample, cpu);
    const double hostMs = static_cast<double>(now.hostTimeNs - before.hostTimeNs) / 1e6;
    const double partMs = hostMs * (toMs - fromMs) / (toMs - sinceMs);
    if (known->second) addStarvation(starved, {static_cast<int32_t>(cpu.getCpu()), fromMs, toMs, partMs});
    if (!counting_) continue;
    HostShare& share = evidence_.hostShares[cpu.getCpu()];
    share.hostMs += hostMs;
    share.wallMs += static_cast<double>(now.hostTimeAtNs - before.hostTimeAtNs) / 1e6;
  }
}

bool MonitorAnalysis::anyCpu(rpc::Sample::Reader sample,
                             bool (*predicate)(const CpuSight&, const CpuSight&)) const {
  for (const auto cpu : sample.getCpus()) {
    const auto before = last_.find(cpu.getCpu());
    if (before != last_.end() && predicate(before->second, sightOf(sample, cpu))) return true;
  }
  return false;
}

void MonitorAnalysis::remember(rpc::Sample::Reader sample, const HostSight& host) {
  lastAtNs_ = sample.getAtNs();
  lastJiffies_ = sample.getJiffies();
  if (sample.getVcpuTimesAtNs() != 0) toldAtNs_ = sample.getAtNs();
  const auto before = std::exchange(last_, {});
  for (const auto cpu : sample.getCpus()) {
    const auto starved = host.starved.find(cpu.getCpu());
    const auto last = before.find(cpu.getCpu());
    CpuSight& sight = last_[cpu.getCpu()] = sightOf(sample, cpu);
    if (host.untold && last != before.end()) sight = sightWithout(last->second, sight);
    sight.starved = starved != host.starved.end() && starved->second;
  }
}

double MonitorAnalysis::sinceOriginMs(uint64_t atNs) const {
  return static_cast<double>(static_cast<int64_t>(atNs - originNs_)) / 1e6;
}

void writeMonitorSummary(const MonitorEvidence& evidence, rpc::MonitorSummary::Builder out) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  out.setSamples(evidence.samples);
  out.setValidSamples(evidence.validSamples);
  out.setMaxImbalanceRatio(evidence.maxImbalanceRatio.value_or(nan));
  out.setMaxLocalDsqDepth(evidence.maxLocalDsqDepth.value_or(nan));
  out.setMeanNrRunning(evidence.meanNrRunning.value_or(nan));
  out.setStalledSamples(evidence.stalledSamples);
  out.setScxEnabledSamples(evidence.scxEnabledSamples);
  auto names = out.initOpsNames(static_cast<unsigned>(evidence.opsNames.size()));
  for (unsigned i = 0; i < names.size(); ++i) names.set(i, evidence.opsNames[i]);
  out.setRunDelayMsPerSecond(evidence.schedstat.runDelayMsPerSecond().value_or(nan));
  out.setSchedulesPerSecond(evidence.schedstat.schedulesPerSecond().value_or(nan));
  out.setLocalWakeupShare(evidence.schedstat.localWakeupShare().value_or(nan));
  writeProgramRuns(evidence.programs, out);
  out.setMaxCostNs(evidence.maxCostNs);
  out.setMeanCostNs(evidence.meanCostNs);
  auto vcpus = out.initVcpus(static_cast<unsigned>(evidence.hostShares.size()));
  unsigned at = 0;
  for (const auto& [cpu, share] : evidence.hostShares) {
    auto vcpu = vcpus[at++];
    vcpu.setCpu(cpu);
    vcpu.setHostShare(share.hostMs / share.wallMs);
    vcpu.setStarvedMs(hostLackOf(evidence.starved, static_cast<int32_t>(cpu)).lostMs);
  }
}

}  // namespace ktstr
