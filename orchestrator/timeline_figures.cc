#include "orchestrator/timeline_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "orchestrator/console.h"
#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// How much the guest has merged (guest/agent/progress.h).
enum class Merged { none, byCgroup, all };

struct Key {
  uint32_t step = 0;
  std::string cgroup, work;
  bool operator<(const Key& other) const {
    return std::tie(step, cgroup, work) < std::tie(other.step, other.cgroup, other.work);
  }
};

struct Reading {
  uint32_t workers = 0;
  uint64_t iterations = 0, cpuNs = 0, runDelayNs = 0;
  bool timesValid = true;
};
using Readings = std::map<Key, Reading>;

Merged mergedIn(Progress progress) {
  Merged merged = Merged::none;
  for (const auto group : progress) {
    if (group.getCgroup() == "*") return Merged::all;
    if (group.getWork().size() == 0) merged = Merged::byCgroup;
  }
  return merged;
}

Readings readingsOf(Progress progress, Merged merged) {
  Readings readings;
  for (const auto group : progress) {
    Key key;
    if (merged != Merged::all)
      key.cgroup = group.getCgroup().size() > 0 ? cleanText(group.getCgroup().cStr()) : "/";
    if (merged == Merged::none) {
      key.step = group.getStep();
      key.work = cleanText(group.getWork().cStr());
    }
    Reading& reading = readings[key];
    reading.workers += group.getWorkers();
    reading.iterations += group.getIterations();
    reading.cpuNs += group.getCpuNs();
    reading.runDelayNs += group.getRunDelayNs();
    reading.timesValid = reading.timesValid && group.getTimesValid();
  }
  return readings;
}

struct Pair {
  Readings from, to;
};
Pair comparable(Progress from, Progress to) {
  const Merged merged = std::max(mergedIn(from), mergedIn(to));
  return {readingsOf(from, merged), readingsOf(to, merged)};
}

// What a cgroup, or all, did between two readings.
struct Sum {
  bool backwards = false, timesValid = true;
  double cpuNs = 0, runDelayNs = 0;
};

void add(const Key& key, const Reading& was, const Reading& is, Sum& sum, WorkFigures& figures) {
  figures.workers += is.workers;
  figures.iterations += is.iterations - was.iterations;
  figures.makeup += text(key.cgroup, '/', key.work, '*', is.workers, ' ');
  sum.backwards = sum.backwards || is.iterations < was.iterations;
  sum.timesValid = sum.timesValid && was.timesValid && is.timesValid && is.cpuNs >= was.cpuNs &&
                   is.runDelayNs >= was.runDelayNs;
  sum.cpuNs += static_cast<double>(is.cpuNs - was.cpuNs);
  sum.runDelayNs += static_cast<double>(is.runDelayNs - was.runDelayNs);
}

void finish(const Sum& sum, double seconds, WorkFigures& figures) {
  if (sum.backwards || seconds <= 0) {
    figures.iterations = 0;
    return;
  }
  figures.iterationsPerSecond = static_cast<double>(figures.iterations) / seconds;
  if (!sum.timesValid) return;
  figures.cpuShare = sum.cpuNs / 1e9 / seconds;
  figures.runDelayMs = sum.runDelayNs / 1e6 / seconds;
}

// Mean and largest of what some samples have.
struct Series {
  double sum = 0, largest = 0;
  uint32_t count = 0;
  void add(const std::optional<double>& value) {
    if (!value) return;
    largest = count == 0 ? *value : std::max(largest, *value);
    sum += *value;
    count++;
  }
  std::optional<double> mean() const { return count == 0 ? std::nullopt : std::optional(sum / count); }
  std::optional<double> most() const { return count == 0 ? std::nullopt : std::optional(largest); }
};

struct Rate {
  double counted = 0, seconds = 0;
  void add(std::optional<uint64_t> was, std::optional<uint64_t> is, uint64_t forNs) {
    if (!was || !is || *is < *was) return;
    counted += static_cast<double>(*is - *was);
    seconds += static_cast<double>(forNs) / 1e9;
  }
  std::optional<double> perSecond() const {
    return seconds > 0 ? std::optional(counted / seconds) : std::nullopt;
  }
};

std::string signedNumber(double value) {
  return (value < 0 ? "" : "+") + formatNumber(value);
}

std::optional<std::string> throughputChange(const WorkFigures& was, const WorkFigures& is) {
  if (!was.iterationsPerSecond || !is.iterationsPerSecond || was.makeup != is.makeup) return std::nullopt;
  const double before = *was.iterationsPerSecond, now = *is.iterationsPerSecond;
  if (std::abs(now - before) <= throughputStep * before) return std::nullopt;
  if (before == 0) return text("throughput from 0 to ", formatNumber(now), " /s");
  return text("throughput ", signedNumber(std::round(100 * (now - before) / before)), " %");
}

}  // namespace

WorkByCgroup workBetween(Progress from, Progress to, double seconds) {
  const Pair readings = comparable(from, to);
  std::map<std::string, Sum> sums;
  WorkByCgroup figures;
  figures[""];
  sums[""];
  for (const auto& [key, is] : readings.to) {
    const auto known = readings.from.find(key);
    const Reading was = known == readings.from.end() ? Reading{} : known->second;
    add(key, was, is, sums[""], figures[""]);
    if (!key.cgroup.empty()) add(Key{0, "", key.work}, was, is, sums[key.cgroup], figures[key.cgroup]);
  }
  for (auto& [cgroup, sum] : sums) finish(sum, seconds, figures[cgroup]);
  return figures;
}

void addChangeIterations(Progress before, Progress after, WorkByCgroup& figures) {
  const Pair readings = comparable(before, after);
  for (const auto& [key, is] : readings.to) {
    const auto known = readings.from.find(key);
    const uint64_t was = known == readings.from.end() ? 0 : known->second.iterations;
    const uint64_t made = is.iterations < was ? is.iterations : is.iterations - was;  // of another one before
    figures[""].changeIterations += made;
    if (const auto its = figures.find(key.cgroup); !key.cgroup.empty() && its != figures.end())
      its->second.changeIterations += made;
  }
}

MonitorFigures monitorFigures(std::span<const TimelineSample> samples) {
  MonitorFigures figures;
  Series imbalance, depth, deepest, running;
  Rate fallback, keepLast;
  for (size_t i = 0; i < samples.size(); i++) {
    const TimelineSample& sample = samples[i];
    figures.samples++;
    figures.stalledSamples += sample.stalled ? 1 : 0;
    imbalance.add(sample.imbalance);
    depth.add(sample.dsqDepth);
    deepest.add(sample.maxDsqDepth);
    running.add(sample.nrRunning);
    if (i == 0) continue;
    if (sample.schedstat) figures.schedstat.add(*sample.schedstat);
    const TimelineSample& last = samples[i - 1];
    fallback.add(last.fallback, sample.fallback, sample.atNs - last.atNs);
    keepLast.add(last.keepLast, sample.keepLast, sample.atNs - last.atNs);
  }
  figures.maxImbalance = imbalance.most();
  figures.imbalance = imbalance.mean();
  figures.maxDsqDepth = deepest.most();
  figures.dsqDepth = depth.mean();
  figures.nrRunning = running.mean();
  figures.fallbackRate = fallback.perSecond();
  figures.keepLastRate = keepLast.perSecond();
  return figures;
}

std::vector<std::string> changesOf(const WorkByCgroup& was, const WorkByCgroup& is) {
  std::vector<std::string> changes;
  for (const auto& [cgroup, now] : is) {
    const auto before = was.find(cgroup);
    if (before == was.end()) continue;
    const auto change = throughputChange(before->second, now);
    if (change) changes.push_back(cgroup.empty() ? *change : cgroup + ": " + *change);
  }
  return changes;
}

std::vector<std::string> changesOf(const MonitorFigures& was, const MonitorFigures& is) {
  struct Compared {
    const char* name;
    std::optional<double> MonitorFigures::*figure;
    double step;
    const char* unit;
  };
  constexpr std::array<Compared, 4> all = {
      {{"imbalance", &MonitorFigures::imbalance, imbalanceStep, ""},
       {"DSQ depth", &MonitorFigures::dsqDepth, dsqDepthStep, ""},
       {"fallback", &MonitorFigures::fallbackRate, eventRateStep, " /s"},
       {"keep last", &MonitorFigures::keepLastRate, eventRateStep, " /s"}}};
  std::vector<std::string> changes;
  for (const Compared& each : all) {
    const auto before = was.*each.figure, now = is.*each.figure;
    if (!before || !now || std::abs(*now - *before) <= each.step) continue;
    changes.push_back(text(each.name, ' ', signedNumber(*now - *before), each.unit));
  }
  return changes;
}

}  // namespace ktstr
