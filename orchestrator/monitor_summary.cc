#include "orchestrator/monitor_summary.h"

#include <algorithm>
#include <limits>

#include "orchestrator/console.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t maxOpsNames = 16;
constexpr uint64_t lateFactor = 3;

// Tasks that wait for a CPU that runs another one.
uint64_t waitingTasks(rpc::Sample::Reader sample) {
  uint64_t waiting = 0;
  for (const auto cpu : sample.getCpus()) {
    const CpuSight sight = sightOf(sample, cpu);
    if (sight.readable && !sight.idle && sight.nrRunning > 1) waiting += sight.nrRunning - 1;
  }
  return waiting;
}

}  // namespace

std::optional<double> imbalanceRatio(rpc::Sample::Reader sample) {
  std::optional<uint32_t> smallest, largest;
  for (const auto cpu : sample.getCpus()) {
    if (!sightOf(sample, cpu).readable) continue;
    smallest = std::min(smallest.value_or(cpu.getNrRunning()), cpu.getNrRunning());
    largest = std::max(largest.value_or(0), cpu.getNrRunning());
  }
  if (!largest) return std::nullopt;
  return static_cast<double>(*largest) / static_cast<double>(std::max(*smallest, 1u));
}

MonitorAnalysis::MonitorAnalysis(const Limits& limits, uint32_t periodMs)
    : limits_(limits), periodNs_(uint64_t{periodMs} * 1'000'000) {}

void MonitorAnalysis::beginScenario() {
  counting_ = true;
  originNs_ = 0;
  evidence_.starved.clear();
}

void MonitorAnalysis::endScenario() {
  counting_ = false;
}

void MonitorAnalysis::add(rpc::MonitorRecord::Reader record) {
  switch (record.which()) {
    case rpc::MonitorRecord::ATTACHED:
      evidence_.attached = true;
      for (const auto text : record.getAttached().getAbsent())
        evidence_.absent.push_back(cleanText(text.cStr()));
      break;
    case rpc::MonitorRecord::SAMPLE:
      addSample(record.getSample());
      break;
    case rpc::MonitorRecord::ENDED:
      evidence_.ended = record.getEnded().getKind();
      evidence_.endedDetail = cleanText(record.getEnded().getDetail().cStr());
      break;
    case rpc::MonitorRecord::WAITING:
      evidence_.lastWaiting = cleanText(record.getWaiting().getReason().cStr());
      break;
  }
}

MonitorEvidence MonitorAnalysis::evidence() const {
  MonitorEvidence evidence = evidence_;
  if (evidence.stall) evidence.starvedStall.reset();
  if (evidence.dsqDepth) evidence.starvedDsqDepth.reset();
  if (evidence.imbalance) evidence.starvedImbalance.reset();
  return evidence;
}

void MonitorAnalysis::addSample(rpc::Sample::Reader sample) {
  const HostSight host = lookAtHost(sample);
  if (originNs_ == 0) {
    originNs_ = sample.getAtNs();
  } else {
    keepHost(sample, host);
  }
  ++evidence_.allSamples;
  if (counting_) {
    ++evidence_.samples;
    countSample(sample, host.anyStarved());
  }
  remember(sample, host);
}

bool MonitorAnalysis::HostSight::anyStarved() const {
  return machineStarved || std::any_of(starved.begin(), starved.end(), [](auto& cpu) { return cpu.second; });
}

MonitorAnalysis::HostSight MonitorAnalysis::lookAtHost(rpc::Sample::Reader sample) {
  const bool first = evidence_.allSamples == 0;
  const uint64_t atNs = sample.getAtNs(), jiffies = sample.getJiffies();
  const bool late = !first && atNs > lastAtNs_ + lateFactor * periodNs_;
  const bool stoodStill = !first && jiffies != 0 && jiffies == lastJiffies_ && anyBusySince(sample);
  HostSight host;
  bool anyFed = false;  // and busy
  for (const auto cpu : sample.getCpus()) {
    const CpuSight before = last_[cpu.getCpu()], now = sightOf(sample, cpu);
    const auto starved = starvedBetween(before, now);
    if (!starved) continue;
    host.starved[cpu.getCpu()] = *starved;
    anyFed = anyFed || (!*starved && busyBetween(before, now));
  }
  host.machineStarved = host.starved.empty() && (late || stoodStill);
  const bool hangs = stoodStill && !late && (host.starved.empty() || anyFed);
  evidence_.standstillSamples = hangs ? evidence_.standstillSamples + 1 : 0;
  return host;
}

void MonitorAnalysis::keepHost(rpc::Sample::Reader sample, const HostSight& host) {
  const double fromMs = sinceOriginMs(lastAtNs_), toMs = sinceOriginMs(sample.getAtNs());
  if (host.machineStarved) addStarvation(evidence_.starved, {-1, fromMs, toMs, 0});
  for (const auto cpu : sample.getCpus()) {
    const auto known = host.starved.find(cpu.getCpu());
    if (known == host.starved.end()) continue;
    const CpuSight before = last_[cpu.getCpu()], now = sightOf(sample, cpu);
    const double hostMs = static_cast<double>(now.hostTimeNs - before.hostTimeNs) / 1e6;
    if (known->second)
      addStarvation(evidence_.starved, {static_cast<int32_t>(cpu.getCpu()), fromMs, toMs, hostMs});
    if (!counting_) continue;
    HostShare& share = evidence_.hostShares[cpu.getCpu()];
    share.hostMs += hostMs;
    share.wallMs += static_cast<double>(now.hostTimeAtNs - before.hostTimeAtNs) / 1e6;
  }
}

bool MonitorAnalysis::anyBusySince(rpc::Sample::Reader sample) const {
  for (const auto cpu : sample.getCpus()) {
    const auto before = last_.find(cpu.getCpu());
    if (before != last_.end() && busyBetween(before->second, sightOf(sample, cpu))) return true;
  }
  return false;
}

void MonitorAnalysis::remember(rpc::Sample::Reader sample, const HostSight& host) {
  lastAtNs_ = sample.getAtNs();
  lastJiffies_ = sample.getJiffies();
  last_.clear();
  for (const auto cpu : sample.getCpus()) {
    const auto starved = host.starved.find(cpu.getCpu());
    CpuSight& sight = last_[cpu.getCpu()] = sightOf(sample, cpu);
    sight.starved = starved != host.starved.end() && starved->second;
  }
}

double MonitorAnalysis::sinceOriginMs(uint64_t atNs) const {
  return static_cast<double>(static_cast<int64_t>(atNs - originNs_)) / 1e6;
}

std::optional<Implausible> MonitorAnalysis::findImplausible(rpc::Sample::Reader sample) {
  bool anyReadable = false;
  for (const auto cpu : sample.getCpus()) {
    anyReadable = anyReadable || cpu.getValid();
    if (cpu.getScxValid() && cpu.getLocalDsqDepth() > maxPlausibleDsqDepth) {
      implausibleText_ = text("local DSQ depth ", cpu.getLocalDsqDepth(), " on CPU ", cpu.getCpu());
      return Implausible::dsqDepth;
    }
    const auto before = last_.find(cpu.getCpu());
    if (before == last_.end() || !before->second.readable || !sightOf(sample, cpu).readable) continue;
    if (cpu.getClock() < before->second.clock) {
      implausibleText_ = text("runqueue clock of CPU ", cpu.getCpu(), " went from ", before->second.clock,
                              " to ", cpu.getClock(), " ns");
      return Implausible::clockBackwards;
    }
  }
  if (anyReadable) return std::nullopt;
  implausibleText_ = "no CPU could be read";
  return Implausible::noCpuReadable;
}

void MonitorAnalysis::countSample(rpc::Sample::Reader sample, bool starved) {
  costSum_ += sample.getCostNs();
  evidence_.maxCostNs = std::max(evidence_.maxCostNs, sample.getCostNs());
  evidence_.meanCostNs = static_cast<uint32_t>(costSum_ / evidence_.samples);

  if (const auto why = findImplausible(sample)) {
    ++evidence_.implausible[*why];
    if (evidence_.implausibleExample.empty()) {
      evidence_.implausibleExample = text("sample ", sample.getSequence(), ": ", implausibleText_);
    }
    runs_.clear();
    imbalanceRun_ = {};
    return;
  }
  ++evidence_.validSamples;
  Sustained here{-1, 0, sample.getSequence(), sinceOriginMs(sample.getAtNs()), 0, sinceOriginMs(lastAtNs_)};
  countScx(sample.getScx());
  if (const auto ratio = imbalanceRatio(sample)) countImbalance(*ratio, starved, here);

  const uint64_t waiting = waitingTasks(sample);
  bool anyStalled = false, anyDsq = false;
  for (const auto now : sample.getCpus()) {
    CpuRuns& runs = runs_[now.getCpu()];
    const CpuSight sight = sightOf(sample, now);
    here.cpu = static_cast<int32_t>(now.getCpu());
    anyStalled = countStall(last_[now.getCpu()], sight, runs.stall, starved, here) || anyStalled;
    countDsq(now, runs.dsq, starved, here);
    countUnused(sight, waiting, runs.unused, starved, here);
    anyDsq = anyDsq || now.getScxValid();
    if (!sight.readable) continue;
    nrRunningSum_ += now.getNrRunning();
    evidence_.meanNrRunning = static_cast<double>(nrRunningSum_) / static_cast<double>(++nrRunningCount_);
  }
  if (anyStalled) ++evidence_.stalledSamples;
  nameOthersThatStall(sample.getSequence());
  if (anyDsq) ++evidence_.dsqReadableSamples;
}

void MonitorAnalysis::countScx(rpc::ScxSample::Reader scx) {
  if (!scx.getPresent()) return;
  ++evidence_.scxReadableSamples;
  if (scx.getState() != rpc::ScxState::ENABLED) {
    if (evidence_.scxEnabledSamples > 0) evidence_.scxLostRun = std::max(evidence_.scxLostRun, ++scxLostRun_);
    return;
  }
  ++evidence_.scxEnabledSamples;
  scxLostRun_ = 0;
  const std::string name = cleanText(scx.getOpsName().cStr());
  auto& names = evidence_.opsNames;
  if (name.empty() || names.size() >= maxOpsNames ||
      std::find(names.begin(), names.end(), name) != names.end())
    return;
  names.push_back(name);
}

bool MonitorAnalysis::countStall(const CpuSight& before, const CpuSight& now, Run& run, bool starved,
                                 Sustained here) {
  if (!stalledBetween(before, now)) {
    run = {};
    return false;
  }
  here.value = static_cast<double>(now.clock);
  here.idle = (run.all == 0 || run.idle) && before.idle && now.idle;
  count(run, starved, here, evidence_.stall, evidence_.starvedStall);
  run.idle = here.idle;
  return !starved;
}

// Who holds the lock and who waits for it with interrupts off look the same from outside.
void MonitorAnalysis::nameOthersThatStall(uint64_t sequence) {
  auto& stall = evidence_.stall;
  if (!stall || stall->lastSequence != sequence) return;
  stall->also.clear();
  for (const auto& [cpu, runs] : runs_) {
    if (static_cast<int32_t>(cpu) != stall->cpu && runs.stall.fed == stall->run) stall->also.push_back(cpu);
  }
}

void MonitorAnalysis::countUnused(const CpuSight& now, uint64_t waiting, Run& run, bool starved,
                                  Sustained here) {
  if (!now.readable || !now.idle || now.nrRunning > 0 || waiting == 0) {
    run = {};
    return;
  }
  here.value = static_cast<double>(waiting);
  std::optional<Sustained> longest, all;
  count(run, starved, here, longest, all);
  if (!longest) return;
  const auto same = [&](const Sustained& known) {
    return known.cpu == here.cpu && known.fromMs == longest->fromMs;
  };
  auto& list = evidence_.unused;
  const auto known = std::find_if(list.begin(), list.end(), same);
  if (known == list.end()) {
    list.push_back(*longest);
  } else {
    *known = *longest;
  }
}

void MonitorAnalysis::countDsq(rpc::CpuSample::Reader now, Run& run, bool starved, Sustained here) {
  here.value = now.getLocalDsqDepth();
  if (now.getScxValid())
    evidence_.maxLocalDsqDepth = std::max(evidence_.maxLocalDsqDepth.value_or(0), here.value);
  if (!now.getScxValid() || here.value <= limits_.maxLocalDsqDepth) {
    run = {};
    return;
  }
  count(run, starved, here, evidence_.dsqDepth, evidence_.starvedDsqDepth);
}

void MonitorAnalysis::countImbalance(double ratio, bool starved, Sustained here) {
  evidence_.maxImbalanceRatio = std::max(evidence_.maxImbalanceRatio.value_or(0), ratio);
  if (!limits_.maxImbalanceRatio || ratio <= *limits_.maxImbalanceRatio) {
    imbalanceRun_ = {};
    return;
  }
  here.value = ratio;
  count(imbalanceRun_, starved, here, evidence_.imbalance, evidence_.starvedImbalance);
}

void MonitorAnalysis::count(Run& run, bool starved, Sustained here, std::optional<Sustained>& fed,
                            std::optional<Sustained>& all) const {
  if (run.all == 0) run = {0, 0, here.value, here.fromMs};
  run.all += 1;
  run.fed += starved ? 0 : 1;
  run.worst = std::max(run.worst, here.value);
  here.value = run.worst;
  here.fromMs = run.fromMs;
  here.run = run.fed;
  keepLongest(fed, here);
  here.run = run.all;
  keepLongest(all, here);
}

void MonitorAnalysis::keepLongest(std::optional<Sustained>& longest, const Sustained& candidate) const {
  if (candidate.run < limits_.sustainedSamples) return;
  if (!longest || candidate.run > longest->run) longest = candidate;
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
