#include "orchestrator/assertions.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "guest/scenario/checks.h"
#include "guest/scenario/work_types.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using Set = rpc::Assertions::Reader;

constexpr double none = std::numeric_limits<double>::quiet_NaN();
constexpr double any = std::numeric_limits<double>::infinity();

template <auto get>
double number(Set set) {
  return (set.*get)();
}
template <auto get>
double choice(Set set) {
  const rpc::Choice chosen = (set.*get)();
  return chosen == rpc::Choice::UNSET ? none : chosen == rpc::Choice::YES ? 1 : 0;
}
template <auto get>
double relative(Set set) {
  return (set.getRelative().*get)();
}
double sustainedSamples(Set set) {
  return set.getSustainedSamples() == 0 ? none : set.getSustainedSamples();
}

using L = Limits;
using R = rpc::Relative::Reader;

const std::vector<Assertion> table = {
    {"notStarved", &L::notStarved, choice<&Set::getNotStarved>, "choice", 0, 1,
     "every worker finishes a unit of work, and no CPU idles while work waits for it"},
    {"isolation", &L::isolation, choice<&Set::getIsolation>, "choice", 0, 1,
     "no worker is seen on a CPU outside its cgroup's cpuset"},
    {"maxSpreadPct", &L::maxSpreadPct, number<&Set::getMaxSpreadPct>, " points", 0, 100,
     "per work group: largest minus smallest share of wall time on a CPU"},
    {"maxGapMs", &L::maxGapMs, number<&Set::getMaxGapMs>, " ms", 0, any,
     "per worker: longest time without progress while it wanted to run"},
    {"maxP99WakeLatencyUs", &L::maxP99WakeLatencyUs, number<&Set::getMaxP99WakeLatencyUs>, " us", 0, any,
     "per work group: 99th percentile of wake-up to running, all workers pooled"},
    {"maxWakeLatencyCv", &L::maxWakeLatencyCv, number<&Set::getMaxWakeLatencyCv>, "", 0, any,
     "per work group: standard deviation of all its wake latencies, over their mean"},
    {"minIterationsPerSecond", &L::minIterationsPerSecond, number<&Set::getMinIterationsPerSecond>, " /s", 0,
     any, "per worker: iterations per second of wall time"},
    {"minWorkRate", &L::minWorkRate, number<&Set::getMinWorkRate>, " /CPU s", 0, any,
     "per worker: work units per second of CPU time"},
    {"maxThroughputCv", &L::maxThroughputCv, number<&Set::getMaxThroughputCv>, "", 0, any,
     "per work group: standard deviation of the workers' work rates, over their mean"},
    {"maxMigrationRatio", &L::maxMigrationRatio, number<&Set::getMaxMigrationRatio>, "", 0, any,
     "per work group: changes of CPU per iteration"},
    {"minPageLocality", &L::minPageLocality, number<&Set::getMinPageLocality>, "", 0, 1,
     "per worker: share of its pages on the nodes of its memory policy, without one on those of its CPUs"},
    {"maxCrossNodeMigrationRatio", &L::maxCrossNodeMigrationRatio,
     number<&Set::getMaxCrossNodeMigrationRatio>, "", 0, any,
     "per worker: pages that NUMA balancing moved, over its pages"},
    {"maxSlowTierRatio", &L::maxSlowTierRatio, number<&Set::getMaxSlowTierRatio>, "", 0, 1,
     "per worker: share of its pages on nodes without CPUs"},
    {"maxImbalanceRatio", &L::maxImbalanceRatio, number<&Set::getMaxImbalanceRatio>, "", 1, any,
     "monitor: runnable tasks of the fullest CPU over those of the emptiest, taken as at least 1"},
    {"maxLocalDsqDepth", &L::maxLocalDsqDepth, number<&Set::getMaxLocalDsqDepth>, " tasks", 0, any,
     "monitor: tasks in one CPU's local dispatch queue"},
    {"failOnStall", &L::failOnStall, choice<&Set::getFailOnStall>, "choice", 0, 1,
     "monitor: the runqueue clock of every busy CPU advances"},
    {"sustainedSamples", &L::sustainedSamples, sustainedSamples, " samples", 1, any,
     "monitor: consecutive samples in which a condition must hold to count"},
    {"maxFallbackRate", &L::maxFallbackRate, number<&Set::getMaxFallbackRate>, " /s", 0, any,
     "monitor: SCX_EV_SELECT_CPU_FALLBACK of all CPUs, a chosen CPU that the task may not use"},
    {"maxKeepLastRate", &L::maxKeepLastRate, number<&Set::getMaxKeepLastRate>, " /s", 0, any,
     "monitor: SCX_EV_DISPATCH_KEEP_LAST of all CPUs, a task that goes on because nothing else was "
     "dispatched"},
    {"relative.minThroughputRatio", &L::minThroughputRatio, relative<&R::getMinThroughputRatio>, "", 0, any,
     "per work group, over EEVDF's: iterations per second"},
    {"relative.maxP99WakeLatencyRatio", &L::maxP99WakeLatencyRatio, relative<&R::getMaxP99WakeLatencyRatio>,
     "", 0, any, "per work group, over EEVDF's: p99 wake latency"},
    {"relative.maxMeanRunDelayRatio", &L::maxMeanRunDelayRatio, relative<&R::getMaxMeanRunDelayRatio>, "", 0,
     any, "per work group, over EEVDF's: time runnable but not running, per timeslice"},
    {"relative.maxGapRatio", &L::maxGapRatio, relative<&R::getMaxGapRatio>, "", 0, any,
     "per work group, over EEVDF's: longest gap of any worker"},
    {"relative.maxMigrationRatio", &L::maxMigrationRatioRatio, relative<&R::getMaxMigrationRatio>, "", 0, any,
     "per work group, over EEVDF's: changes of CPU per iteration"},
    {"relative.maxSpreadDifferencePct", &L::maxSpreadDifferencePct, relative<&R::getMaxSpreadDifferencePct>,
     " points", 0, 100, "per work group, minus EEVDF's: spread"},
};

bool isRelative(const Assertion& row) {
  return std::string_view(row.name).starts_with("relative.");
}

void checkSet(const char* place, Set set) {
  for (const Assertion& row : table) {
    const double value = row.get(set);
    if (std::isnan(value) || (std::isfinite(value) && value >= row.least && value <= row.most)) continue;
    const std::string to = std::isfinite(row.most) ? text(" to ", row.most) : std::string();
    refuse(text(place, '.', row.name), text(value, " is not a finite number from ", row.least, to));
  }
}

// The first operation that a scenario which runs twice, once without a scheduler, cannot have.
std::optional<std::string> schedulerOp(rpc::Scenario::Reader scenario) {
  for (unsigned step = 0; step < scenario.getSteps().size(); ++step) {
    const auto ops = scenario.getSteps()[step].getOps();
    for (unsigned op = 0; op < ops.size(); ++op) {
      if (ops[op].isAttachScheduler() || ops[op].isDetachScheduler() || ops[op].isReplaceScheduler() ||
          ops[op].isWriteMap())
        return text("steps[", step, "].ops[", op, ']');
    }
  }
  return std::nullopt;
}

std::string exact(double value) {
  char buffer[32];
  snprintf(buffer, sizeof buffer, "%.10g", value);
  return buffer;
}

}  // namespace

const std::vector<Assertion>& assertionTable() {
  return table;
}

const Assertion& assertionOf(Limit Limits::*limit) {
  for (const Assertion& row : table) {
    if (row.limit == limit) return row;
  }
  throw Error(ExitCode::infrastructure, "internal", "an assertion is not in the table");
}

bool Limits::anyRelative() const {
  for (const Assertion& row : table) {
    if (isRelative(row) && (this->*row.limit).set) return true;
  }
  return false;
}

Limits mergeAssertions(rpc::Scenario::Reader scenario) {
  Limits limits;
  const auto apply = [&](Set set, Origin origin) {
    for (const Assertion& row : table) {
      const double value = row.get(set);
      if (!std::isnan(value)) limits.*row.limit = {value, origin};
    }
  };
  apply(scenario.getSchedulerAssertions(), Origin::SCHEDULER);
  apply(scenario.getAssertions(), Origin::TEST);
  return limits;
}

bool hasRelative(rpc::Scenario::Reader scenario) {
  return mergeAssertions(scenario).anyRelative();
}

void checkAssertions(rpc::Scenario::Reader scenario, std::optional<bool> underScheduler, bool baseline) {
  checkSet("schedulerAssertions", scenario.getSchedulerAssertions());
  checkSet("assertions", scenario.getAssertions());
  if (!baseline && !hasRelative(scenario)) return;
  if (!underScheduler.value_or(true)) {
    throw Error(ExitCode::usage, "baseline-impossible",
                "the scenario is to be compared with EEVDF, but no scheduler is under test",
                "give --scheduler, or leave out assertions.relative and --beside-eevdf");
  }
  if (const auto op = schedulerOp(scenario)) {
    throw Error(ExitCode::usage, "baseline-impossible",
                text(*op, ": the scenario is to be compared with EEVDF, but changes the scheduler itself"),
                "leave out the operation, or assertions.relative and --beside-eevdf");
  }
}

std::string describeLimit(const Limits& limits, Limit Limits::*limit) {
  const Limit& found = limits.*limit;
  constexpr const char* from[] = {" by default", " set by the scheduler", " set by the test"};
  const std::string_view unit = assertionOf(limit).unit;
  const std::string value =
      unit == "choice" ? (found.yes() ? "yes" : "no") : text(exact(found.value()), unit);
  return text("limit ", value, from[static_cast<size_t>(found.origin)]);
}

void writeLimits(const Limits& limits, rpc::RunRecord::Builder record) {
  auto list = record.initLimits(static_cast<unsigned>(table.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const Limit& limit = limits.*table[i].limit;
    list[i].setName(table[i].name);
    list[i].setValue(limit.set.value_or(none));
    list[i].setOrigin(limit.origin);
  }
}

bool cpuBound(rpc::WorkType::Reader type) {
  return workTypeInfo(type.which()).cpuBound;
}

bool measuresWakeLatency(rpc::WorkType::Reader type) {
  return *workTypeInfo(type.which()).wakeLatency != 0;
}

}  // namespace ktstr
