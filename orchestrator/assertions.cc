#include "orchestrator/assertions.h"

#include <cmath>

#include "guest/scenario/work_types.h"

namespace ktstr {

namespace {

void choose(bool& limit, rpc::Choice choice) {
  if (choice != rpc::Choice::UNSET) limit = choice == rpc::Choice::YES;
}

template <typename Limit>
bool choose(Limit& limit, double value) {
  if (std::isnan(value)) return false;
  limit = value;
  return true;
}

}  // namespace

Limits mergeAssertions(rpc::Assertions::Reader assertions) {
  Limits limits;
  choose(limits.notStarved, assertions.getNotStarved());
  choose(limits.isolation, assertions.getIsolation());
  limits.spreadForAllGroups = choose(limits.maxSpreadPct, assertions.getMaxSpreadPct());
  choose(limits.maxGapMs, assertions.getMaxGapMs());
  choose(limits.maxP99WakeLatencyUs, assertions.getMaxP99WakeLatencyUs());
  choose(limits.minIterationsPerSecond, assertions.getMinIterationsPerSecond());
  choose(limits.maxMigrationRatio, assertions.getMaxMigrationRatio());
  choose(limits.maxImbalanceRatio, assertions.getMaxImbalanceRatio());
  choose(limits.maxLocalDsqDepth, assertions.getMaxLocalDsqDepth());
  choose(limits.failOnStall, assertions.getFailOnStall());
  if (assertions.getSustainedSamples() != 0) limits.sustainedSamples = assertions.getSustainedSamples();
  return limits;
}

bool cpuBound(rpc::WorkType::Reader type) {
  return workTypeInfo(type.which()).cpuBound;
}

bool measuresWakeLatency(rpc::WorkType::Reader type) {
  return *workTypeInfo(type.which()).wakeLatency != 0;
}

}  // namespace ktstr
