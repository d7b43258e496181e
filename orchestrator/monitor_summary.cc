#include "orchestrator/monitor_summary.h"

#include <algorithm>
#include <limits>

#include "orchestrator/console.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t maxOpsNames = 16;
constexpr uint64_t lateFactor = 3;

}  // namespace

CpuSight sightOf(rpc::CpuSample::Reader cpu) {
  return {cpu.getValid() && !cpu.getTorn(), cpu.getNrRunning(), cpu.getClock()};
}

bool stalledBetween(const CpuSight& before, const CpuSight& now) {
  return before.readable && now.readable && before.nrRunning > 0 && now.nrRunning > 0 && now.clock != 0 &&
         before.clock == now.clock;
}

std::optional<double> imbalanceRatio(rpc::Sample::Reader sample) {
  std::optional<uint32_t> smallest, largest;
  for (const auto cpu : sample.getCpus()) {
    if (!sightOf(cpu).readable) continue;
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
  return evidence;
}

void MonitorAnalysis::addSample(rpc::Sample::Reader sample) {
  const bool first = evidence_.allSamples++ == 0;
  const uint64_t atNs = sample.getAtNs(), jiffies = sample.getJiffies();
  const uint64_t gapNs = first || atNs < lastAtNs_ ? 0 : atNs - lastAtNs_;
  const bool late = gapNs > lateFactor * periodNs_;
  const bool stoodStill = !first && jiffies != 0 && jiffies == lastJiffies_ && anyBusySince(sample);
  evidence_.standstillSamples = stoodStill && !late ? evidence_.standstillSamples + 1 : 0;

  if (counting_) {
    if (evidence_.samples++ == 0) firstCountedNs_ = atNs;
    const bool starved = late || stoodStill;
    if (starved && evidence_.samples > 1) {
      const double gapMs = static_cast<double>(gapNs) / 1e6;
      ++evidence_.starvedIntervals;
      evidence_.starvedMs += gapMs;
      starvedRunMs_ += gapMs;
      evidence_.longestStarvedMs = std::max(evidence_.longestStarvedMs, starvedRunMs_);
    } else {
      starvedRunMs_ = 0;
    }
    countSample(sample, starved);
  }
  remember(sample);
}

bool MonitorAnalysis::anyBusySince(rpc::Sample::Reader sample) const {
  for (const auto cpu : sample.getCpus()) {
    const auto before = last_.find(cpu.getCpu());
    if (before == last_.end() || !before->second.readable || !sightOf(cpu).readable) continue;
    if (before->second.nrRunning > 0 && cpu.getNrRunning() > 0) return true;
  }
  return false;
}

void MonitorAnalysis::remember(rpc::Sample::Reader sample) {
  lastAtNs_ = sample.getAtNs();
  lastJiffies_ = sample.getJiffies();
  last_.clear();
  for (const auto cpu : sample.getCpus()) last_[cpu.getCpu()] = sightOf(cpu);
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
    if (before == last_.end() || !before->second.readable || !sightOf(cpu).readable) continue;
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
    imbalanceRun_ = 0;
    return;
  }
  ++evidence_.validSamples;
  const Sustained here{-1, 0, sample.getSequence(),
                       static_cast<double>(sample.getAtNs() - firstCountedNs_) / 1e6, 0};
  countScx(sample.getScx());
  if (const auto ratio = imbalanceRatio(sample)) countImbalance(*ratio, here);

  bool anyStalled = false, anyDsq = false;
  for (const auto now : sample.getCpus()) {
    CpuRuns& runs = runs_[now.getCpu()];
    anyStalled = countStall(last_[now.getCpu()], now, runs, starved, here) || anyStalled;
    countDsq(now, runs, here);
    anyDsq = anyDsq || now.getScxValid();
    if (!sightOf(now).readable) continue;
    nrRunningSum_ += now.getNrRunning();
    evidence_.meanNrRunning = static_cast<double>(nrRunningSum_) / static_cast<double>(++nrRunningCount_);
  }
  if (anyStalled) ++evidence_.stalledSamples;
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

bool MonitorAnalysis::countStall(const CpuSight& before, rpc::CpuSample::Reader now, CpuRuns& runs,
                                 bool starved, Sustained here) {
  const CpuSight sight = sightOf(now);
  const bool stalled = stalledBetween(before, sight);
  runs.stallRun = stalled && !starved ? runs.stallRun + 1 : 0;
  runs.starvedStallRun = stalled ? runs.starvedStallRun + 1 : 0;
  here.cpu = static_cast<int32_t>(now.getCpu());
  here.value = static_cast<double>(sight.clock);
  here.run = runs.stallRun;
  keepLongest(evidence_.stall, here);
  here.run = runs.starvedStallRun;
  keepLongest(evidence_.starvedStall, here);
  return stalled && !starved;
}

void MonitorAnalysis::countDsq(rpc::CpuSample::Reader now, CpuRuns& runs, Sustained here) {
  if (!now.getScxValid()) {
    runs.dsqRun = 0;
    return;
  }
  const double depth = now.getLocalDsqDepth();
  evidence_.maxLocalDsqDepth = std::max(evidence_.maxLocalDsqDepth.value_or(0), depth);
  if (depth <= limits_.maxLocalDsqDepth) {
    runs.dsqRun = 0;
    return;
  }
  runs.dsqWorst = runs.dsqRun++ == 0 ? depth : std::max(runs.dsqWorst, depth);
  here.cpu = static_cast<int32_t>(now.getCpu());
  here.run = runs.dsqRun;
  here.value = runs.dsqWorst;
  keepLongest(evidence_.dsqDepth, here);
}

void MonitorAnalysis::countImbalance(double ratio, Sustained here) {
  evidence_.maxImbalanceRatio = std::max(evidence_.maxImbalanceRatio.value_or(0), ratio);
  if (!limits_.maxImbalanceRatio || ratio <= *limits_.maxImbalanceRatio) {
    imbalanceRun_ = 0;
    return;
  }
  imbalanceWorst_ = imbalanceRun_++ == 0 ? ratio : std::max(imbalanceWorst_, ratio);
  here.run = imbalanceRun_;
  here.value = imbalanceWorst_;
  keepLongest(evidence_.imbalance, here);
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
}

}  // namespace ktstr
