#include "orchestrator/stats.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "guest/scenario/work_types.h"
#include "orchestrator/assertions.h"

namespace ktstr {

namespace {

uint64_t addSaturated(uint64_t a, uint64_t b) {
  return b > std::numeric_limits<uint64_t>::max() - a ? std::numeric_limits<uint64_t>::max() : a + b;
}

class Declared {
 public:
  explicit Declared(rpc::Scenario::Reader scenario) : scenario_(scenario) {
    add(rpc::BACKDROP_STEP, scenario.getBackdrop().getCgroups(), scenario.getBackdrop().getOps());
    for (uint32_t step = 0; step < scenario.getSteps().size(); ++step) {
      add(step, scenario.getSteps()[step].getCgroups(), scenario.getSteps()[step].getOps());
    }
  }
  std::vector<GroupFigures> groups;

 private:
  void add(uint32_t step, capnp::List<rpc::CgroupDef>::Reader cgroups, capnp::List<rpc::Op>::Reader ops) {
    for (const auto cgroup : cgroups) {
      for (const auto work : cgroup.getWork()) {
        add(step, cgroup.getName(), work);
        groups.back().hasCpuset = !cgroup.getCpuset().isInherit();
      }
    }
    for (const auto op : ops) {
      if (op.isSpawn()) add(step, op.getSpawn().getCgroup(), op.getSpawn().getWork());
    }
  }
  void add(uint32_t step, const std::string& cgroup, rpc::WorkSpec::Reader work) {
    GroupFigures group;
    group.step = step;
    group.stepName = stepNameOf(scenario_, step);
    group.cgroup = cgroup;
    group.work = workName(work);
    group.type = work.getType().which();
    group.isCpuBound = cpuBound(work.getType());
    group.hasWakeLatency = measuresWakeLatency(work.getType());
    group.hasPages = workTypeInfo(work.getType().which()).memory;
    group.memory = work.getMemory();
    group.declared = work.getWorkers();
    groups.push_back(std::move(group));
  }

  rpc::Scenario::Reader scenario_;
};

GroupFigures& groupOf(std::vector<GroupFigures>& groups, rpc::Scenario::Reader scenario,
                      rpc::WorkerReport::Reader report) {
  const std::string cgroup = report.getCgroup(), work = report.getWork();
  for (GroupFigures& group : groups) {
    if (group.step == report.getStep() && group.cgroup == cgroup && group.work == work) return group;
  }
  GroupFigures& group = groups.emplace_back();
  group.step = report.getStep();
  group.stepName = stepNameOf(scenario, group.step);
  group.cgroup = cgroup;
  group.work = work;
  return group;
}

void computeShares(GroupFigures& group) {
  double smallest = 0, largest = 0, rate = 0;
  uint32_t shares = 0, ran = 0;
  std::vector<double> workRates;
  for (const auto& report : group.reports) {
    if (const auto one = workRate(report)) workRates.push_back(*one);
    if (report.getWallNs() == 0) continue;
    ++ran;
    rate += static_cast<double>(report.getIterations()) / (static_cast<double>(report.getWallNs()) / 1e9);
    const auto share = cpuSharePct(report);
    if (!share) continue;
    smallest = shares == 0 ? *share : std::min(smallest, *share);
    largest = shares == 0 ? *share : std::max(largest, *share);
    ++shares;
  }
  if (ran >= 1) group.iterationsPerSecond = rate;
  if (shares >= 2) group.spreadPct = largest - smallest;
  group.throughputCv = variation(workRates);
}

void computeLatencies(GroupFigures& group) {
  WakeHistogram pooled;
  uint64_t runDelayNs = 0, timeslices = 0;
  for (const auto& report : group.reports) {
    for (const auto bucket : report.getWakeLatency()) {
      if (bucket.getCount() == 0) continue;
      uint64_t& count = pooled[bucket.getUpperNs()];
      count = addSaturated(count, bucket.getCount());
    }
    group.wakeSamples = addSaturated(group.wakeSamples, report.getWakeSamples());
    const double gapMs = static_cast<double>(report.getMaxGapNs()) / 1e6;
    if (report.getWallNs() > 0) group.maxGapMs = std::max(group.maxGapMs.value_or(0), gapMs);
    if (!report.getRunDelayValid()) continue;
    runDelayNs = addSaturated(runDelayNs, report.getRunDelayNs());
    timeslices = addSaturated(timeslices, report.getTimeslices());
  }
  if (const auto p50 = percentileNs(pooled, 0.5)) group.p50WakeLatencyUs = static_cast<double>(*p50) / 1e3;
  if (const auto p99 = percentileNs(pooled, 0.99)) group.p99WakeLatencyUs = static_cast<double>(*p99) / 1e3;
  group.wakeLatencyCv = variation(pooled);
  if (timeslices > 0) {
    group.meanRunDelayUs = static_cast<double>(runDelayNs) / static_cast<double>(timeslices) / 1e3;
  }
}

void compute(GroupFigures& group) {
  std::set<uint32_t> seen, allowed;
  for (const auto& report : group.reports) {
    group.iterations = addSaturated(group.iterations, report.getIterations());
    group.migrations = addSaturated(group.migrations, report.getMigrations());
    for (const uint32_t cpu : report.getCpusSeen()) seen.insert(cpu);
    for (const uint32_t cpu : report.getCpuset()) allowed.insert(cpu);
  }
  if (group.iterations > 0) {
    group.migrationRatio = static_cast<double>(group.migrations) / static_cast<double>(group.iterations);
  }
  group.cpusSeen.assign(seen.begin(), seen.end());
  group.cpuset.assign(allowed.begin(), allowed.end());
  computeShares(group);
  computeLatencies(group);
}

// Of values that each come so many times.
std::optional<double> variationOf(const std::vector<std::pair<double, double>>& counted) {
  double count = 0, sum = 0, squares = 0;
  for (const auto& [value, times] : counted) {
    count += times;
    sum += times * value;
  }
  const double mean = count > 0 ? sum / count : 0;
  if (count < 2 || mean <= 0) return std::nullopt;
  for (const auto& [value, times] : counted) squares += times * (value - mean) * (value - mean);
  return std::sqrt(squares / count) / mean;
}

double orNan(const std::optional<double>& value) {
  return value.value_or(std::numeric_limits<double>::quiet_NaN());
}

}  // namespace

std::optional<double> cpuSharePct(rpc::WorkerReport::Reader report) {
  if (report.getWallNs() == 0 || !report.getUsageValid()) return std::nullopt;
  return std::min(100.0,
                  100.0 * static_cast<double>(report.getCpuNs()) / static_cast<double>(report.getWallNs()));
}

std::optional<double> workRate(rpc::WorkerReport::Reader report) {
  if (report.getCpuNs() == 0 || !report.getUsageValid()) return std::nullopt;
  return static_cast<double>(report.getWorkUnits()) / (static_cast<double>(report.getCpuNs()) / 1e9);
}

std::optional<double> variation(const std::vector<double>& values) {
  std::vector<std::pair<double, double>> counted;
  for (const double value : values) counted.emplace_back(value, 1);
  return variationOf(counted);
}

std::optional<double> variation(const WakeHistogram& histogram) {
  std::vector<std::pair<double, double>> counted;
  for (const auto& [upper, count] : histogram)
    counted.emplace_back(static_cast<double>(upper), static_cast<double>(count));
  return variationOf(counted);
}

std::optional<uint64_t> percentileNs(const WakeHistogram& histogram, double fraction) {
  uint64_t total = 0;
  for (const auto& [upper, count] : histogram) total = addSaturated(total, count);
  if (total == 0) return std::nullopt;
  const double exact = std::ceil(static_cast<double>(total) * fraction);
  const uint64_t rank =
      exact >= static_cast<double>(total) ? total : static_cast<uint64_t>(std::max(exact, 1.0));
  uint64_t seen = 0;
  for (const auto& [upper, count] : histogram) {
    seen = addSaturated(seen, count);
    if (seen >= rank) return upper;
  }
  return histogram.rbegin()->first;
}

std::string stepNameOf(rpc::Scenario::Reader scenario, uint32_t step) {
  if (step == rpc::BACKDROP_STEP) return "backdrop";
  const auto steps = scenario.getSteps();
  if (step < steps.size() && steps[step].getName().size() > 0) return steps[step].getName();
  return "step " + std::to_string(step);
}

std::vector<GroupFigures> groupReports(rpc::Scenario::Reader scenario,
                                       std::span<const rpc::WorkerReport::Reader> reports) {
  std::vector<GroupFigures> groups = Declared(scenario).groups;
  for (const auto& report : reports) groupOf(groups, scenario, report).reports.push_back(report);
  for (GroupFigures& group : groups) compute(group);
  return groups;
}

void writeGroup(const GroupFigures& group, rpc::GroupStats::Builder out) {
  out.setStep(group.stepName);
  out.setCgroup(group.cgroup);
  out.setWork(group.work);
  out.setWorkers(static_cast<uint32_t>(group.reports.size()));
  out.setIterations(group.iterations);
  out.setIterationsPerSecond(orNan(group.iterationsPerSecond));
  out.setSpreadPct(orNan(group.spreadPct));
  out.setMaxGapMs(orNan(group.maxGapMs));
  out.setP50WakeLatencyUs(orNan(group.p50WakeLatencyUs));
  out.setP99WakeLatencyUs(orNan(group.p99WakeLatencyUs));
  out.setWakeSamples(group.wakeSamples);
  out.setMeanRunDelayUs(orNan(group.meanRunDelayUs));
  out.setMigrations(group.migrations);
  auto seen = out.initCpusSeen(static_cast<unsigned>(group.cpusSeen.size()));
  for (unsigned i = 0; i < seen.size(); ++i) seen.set(i, group.cpusSeen[i]);
  auto allowed = out.initCpuset(static_cast<unsigned>(group.cpuset.size()));
  for (unsigned i = 0; i < allowed.size(); ++i) allowed.set(i, group.cpuset[i]);
}

}  // namespace ktstr
