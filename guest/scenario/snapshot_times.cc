#include "guest/scenario/snapshot_times.h"

#include "guest/scenario/checks.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t millisecond = 1'000'000;  // ns

uint64_t stepMs(rpc::Step::Reader step, uint32_t durationMs) {
  const auto share = [&](double fraction) { return static_cast<uint64_t>(fraction * durationMs); };
  const auto hold = step.getHold();
  if (hold.isLoop()) return share(hold.getLoop().getFraction());
  uint64_t total = hold.isFixedMs() ? hold.getFixedMs() : share(hold.getFraction());
  for (const auto op : step.getOps()) {
    if (op.isSleepMs()) total += op.getSleepMs();
  }
  return total;
}

uint64_t windowNs(uint64_t lengthNs) {
  return lengthNs - 2 * (lengthNs / 10);
}

}  // namespace

uint64_t plannedMs(rpc::Scenario::Reader scenario) {
  uint64_t total = 0;
  for (const auto step : scenario.getSteps()) total += stepMs(step, scenario.getDurationMs());
  return total;
}

std::vector<uint64_t> snapshotTimes(rpc::Scenario::Reader scenario) {
  const uint64_t length = plannedMs(scenario) * millisecond;
  const uint32_t count = scenario.getSnapshots();
  std::vector<uint64_t> times;
  for (uint32_t i = 0; i < count; ++i)
    times.push_back(length / 10 + windowNs(length) * (i + 1) / (count + 1));
  return times;
}

void checkSnapshots(rpc::Scenario::Reader scenario) {
  const uint32_t count = scenario.getSnapshots();
  checkNumber("snapshots", count, 0, maxSnapshots);
  const uint64_t window = windowNs(plannedMs(scenario) * millisecond);
  if (count == 0 || window / (count + 1) >= snapshotSpacingMs * millisecond) return;
  const uint64_t most = window / (snapshotSpacingMs * millisecond);
  refuse("snapshots",
         text(count, " of a scenario of ", plannedMs(scenario), " ms would be less than ", snapshotSpacingMs,
              " ms apart"),
         most < 2 ? "make it longer" : text("ask for ", most - 1, " or fewer, or make it longer"));
}

}  // namespace ktstr
