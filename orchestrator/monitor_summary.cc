#include "orchestrator/monitor_summary.h"

#include <algorithm>

#include "orchestrator/console.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t maxOpsNames = 16;

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
  silent_.clear();
}

void MonitorAnalysis::schedulerAttached() {
  if (counting_) settling_ = static_cast<uint32_t>(limits_.sustainedSamples.value());
}

void MonitorAnalysis::endScenario() {
  counting_ = false;
}

void MonitorAnalysis::beginBaseline() {
  evidence_.starved.insert(evidence_.starved.end(), silent_.begin(), silent_.end());
  silent_.clear();
  inBaseline_ = true;
  originNs_ = 0;
}

SampleSight MonitorAnalysis::add(rpc::MonitorRecord::Reader record) {
  switch (record.which()) {
    case rpc::MonitorRecord::ATTACHED:
      evidence_.attached = true;
      fallback_.find(record.getAttached());
      keepLast_.find(record.getAttached());
      for (const auto text : record.getAttached().getAbsent())
        evidence_.absent.push_back(cleanText(text.cStr()));
      break;
    case rpc::MonitorRecord::SAMPLE:
      return addSample(record.getSample());
    case rpc::MonitorRecord::ENDED:
      evidence_.ended = record.getEnded().getKind();
      evidence_.endedDetail = cleanText(record.getEnded().getDetail().cStr());
      break;
    case rpc::MonitorRecord::WAITING:
      evidence_.lastWaiting = cleanText(record.getWaiting().getReason().cStr());
      break;
    case rpc::MonitorRecord::MAP_WRITE:  // judgeMapWrites()
    case rpc::MonitorRecord::WATCHDOG:
    case rpc::MonitorRecord::DUMP:
    case rpc::MonitorRecord::WATCH_HIT:
      break;
  }
  return {};
}

MonitorEvidence MonitorAnalysis::evidence() const {
  MonitorEvidence evidence = evidence_;
  auto& starved = inBaseline_ ? evidence.baselineStarved : evidence.starved;
  starved.insert(starved.end(), silent_.begin(), silent_.end());
  evidence.programs = programs_.runs();
  if (evidence.stall) evidence.starvedStall.reset();
  if (evidence.dsqDepth) evidence.starvedDsqDepth.reset();
  if (evidence.imbalance) evidence.starvedImbalance.reset();
  for (RateEvidence* rate : {&evidence.fallback, &evidence.keepLast}) {
    if (rate->over) rate->starved.reset();
  }
  return evidence;
}

SampleSight MonitorAnalysis::addSample(rpc::Sample::Reader sample) {
  const HostSight host = lookAtHost(sample);
  if (originNs_ == 0) {
    originNs_ = sample.getAtNs();
  } else {
    keepHost(sample, host);
  }
  ++evidence_.allSamples;
  SampleSight sight{findImplausible(sample)};
  sight.stalled =
      !sight.implausible && settling_ == 0 && !host.mayBeStarved() && anyCpu(sample, stalledBetween);
  programs_.add(sample, counting_);
  const auto schedstat = schedstat_.next(sample);
  if (counting_ && schedstat) evidence_.schedstat.add(*schedstat);
  if (counting_) {
    ++evidence_.samples;
    countSample(sample, sight, host.mayBeStarved());
  }
  remember(sample, host);
  return sight;
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

void MonitorAnalysis::countSample(rpc::Sample::Reader sample, const SampleSight& sight, bool starved) {
  costSum_ += sample.getCostNs();
  evidence_.maxCostNs = std::max(evidence_.maxCostNs, sample.getCostNs());
  evidence_.meanCostNs = static_cast<uint32_t>(costSum_ / evidence_.samples);

  const auto fallback = fallback_.next(sample), keepLast = keepLast_.next(sample);
  if (sight.implausible) {
    ++evidence_.implausible[*sight.implausible];
    if (evidence_.implausibleExample.empty()) {
      evidence_.implausibleExample = text("sample ", sample.getSequence(), ": ", implausibleText_);
    }
    return endRuns();
  }
  ++evidence_.validSamples;
  if (sight.stalled) ++evidence_.stalledSamples;
  countScx(sample.getScx());
  bool anyDsq = false;
  for (const auto cpu : sample.getCpus()) {
    anyDsq = anyDsq || cpu.getScxValid();
    if (!sightOf(sample, cpu).readable) continue;
    nrRunningSum_ += cpu.getNrRunning();
    evidence_.meanNrRunning = static_cast<double>(nrRunningSum_) / static_cast<double>(++nrRunningCount_);
  }
  if (anyDsq) ++evidence_.dsqReadableSamples;
  if (settling_ > 0) {
    --settling_;
    return endRuns();
  }
  Sustained here{-1, 0, sample.getSequence(), sinceOriginMs(sample.getAtNs()), 0, sinceOriginMs(lastAtNs_)};
  countRate(fallback, limits_.maxFallbackRate, evidence_.fallback, fallbackRun_, starved, here);
  countRate(keepLast, limits_.maxKeepLastRate, evidence_.keepLast, keepLastRun_, starved, here);
  countConditions(sample, starved, here);
}

void MonitorAnalysis::endRuns() {
  runs_.clear();
  imbalanceRun_ = fallbackRun_ = keepLastRun_ = {};
}

void MonitorAnalysis::countConditions(rpc::Sample::Reader sample, bool starved, Sustained here) {
  if (const auto ratio = imbalanceRatio(sample)) countImbalance(*ratio, starved, here);
  const uint64_t waiting = waitingTasks(sample);
  for (const auto now : sample.getCpus()) {
    CpuRuns& runs = runs_[now.getCpu()];
    const CpuSight cpu = sightOf(sample, now);
    here.cpu = static_cast<int32_t>(now.getCpu());
    countStall(last_[now.getCpu()], cpu, runs.stall, starved, here);
    countDsq(now, runs.dsq, starved, here);
    countUnused(cpu, waiting, runs.unused, starved, here);
  }
  nameOthersThatStall(sample.getSequence());
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

void MonitorAnalysis::countStall(const CpuSight& before, const CpuSight& now, Run& run, bool starved,
                                 Sustained here) {
  if (!stalledBetween(before, now)) {
    run = {};
    return;
  }
  here.value = static_cast<double>(now.clock);
  here.idle = (run.all == 0 || run.idle) && before.idle && now.idle;
  count(run, starved, here, evidence_.stall, evidence_.starvedStall);
  run.idle = here.idle;
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
  if (!now.getScxValid() || here.value <= limits_.maxLocalDsqDepth.value()) {
    run = {};
    return;
  }
  count(run, starved, here, evidence_.dsqDepth, evidence_.starvedDsqDepth);
}

void MonitorAnalysis::countImbalance(double ratio, bool starved, Sustained here) {
  evidence_.maxImbalanceRatio = std::max(evidence_.maxImbalanceRatio.value_or(0), ratio);
  if (!limits_.maxImbalanceRatio.set || ratio <= limits_.maxImbalanceRatio.value()) {
    imbalanceRun_ = {};
    return;
  }
  here.value = ratio;
  count(imbalanceRun_, starved, here, evidence_.imbalance, evidence_.starvedImbalance);
}

void MonitorAnalysis::countRate(std::optional<double> rate, const Limit& limit, RateEvidence& seen, Run& run,
                                bool starved, Sustained here) {
  if (rate) {
    ++seen.intervals;
    seen.highest = std::max(seen.highest.value_or(0), *rate);
  }
  if (!rate || !limit.set || *rate <= limit.value()) {
    run = {};
    return;
  }
  here.value = *rate;
  count(run, starved, here, seen.over, seen.starved);
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
  if (candidate.run < limits_.sustainedSamples.value()) return;
  if (!longest || candidate.run > longest->run) longest = candidate;
}

}  // namespace ktstr
