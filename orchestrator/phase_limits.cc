#include "orchestrator/phase_limits.h"

#include <algorithm>

#include "orchestrator/resolve.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// The longest that a step's operations may take by themselves.
uint64_t opsMs(const RunOptions& options, capnp::List<rpc::Op>::Reader ops) {
  constexpr uint64_t boundMs = 5'000;  // of what waits for the kernel: freezing, disabling sched_ext
  uint64_t total = 0;
  for (const auto op : ops) {
    if (op.isSleepMs()) total += op.getSleepMs();
    if (op.isWaitPayload()) total += op.getWaitPayload().getTimeoutMs();
    if (op.isAttachScheduler() || op.isReplaceScheduler()) total += options.attachTimeoutMs;
    if (op.isDetachScheduler() || op.isReplaceScheduler() || op.isFreezeCgroup()) total += boundMs;
  }
  return total;
}

// To make workers and to end them, on an emulated CPU of a busy host.
uint64_t workersMs(capnp::List<rpc::CgroupDef>::Reader cgroups, capnp::List<rpc::Op>::Reader ops) {
  constexpr uint64_t eachMs = 30;
  uint64_t workers = 0;
  for (const auto cgroup : cgroups) {
    for (const auto work : cgroup.getWork()) workers += work.getWorkers();
  }
  for (const auto op : ops) {
    if (op.isSpawn()) workers += op.getSpawn().getWork().getWorkers();
  }
  return eachMs * workers;
}

// A loop ends with the round that its time is up in.
uint64_t stepMs(const RunOptions& options, rpc::Scenario::Reader scenario, rpc::Step::Reader step) {
  const auto hold = step.getHold();
  const auto share = [&](double fraction) {
    return static_cast<uint64_t>(fraction * scenario.getDurationMs());
  };
  const uint64_t ops = opsMs(options, step.getOps()) + workersMs(step.getCgroups(), step.getOps());
  if (hold.isLoop()) return share(hold.getLoop().getFraction()) + ops + hold.getLoop().getIntervalMs();
  return ops + (hold.isFixedMs() ? hold.getFixedMs() : share(hold.getFraction()));
}

uint64_t totalHoldMs(const RunOptions& options, rpc::Scenario::Reader scenario) {
  const auto backdrop = scenario.getBackdrop();
  uint64_t total = opsMs(options, backdrop.getOps()) + workersMs(backdrop.getCgroups(), backdrop.getOps());
  for (const auto step : scenario.getSteps()) total += stepMs(options, scenario, step);
  return total;
}

}  // namespace

// Emulated guests are slow and hosts are noisy: what surrounds the work gets ample room, the work itself
// none.
PhaseLimits phaseLimits(const RunOptions& options, rpc::Scenario::Reader scenario) {
  PhaseLimits limits;
  limits.kernel = options.bootTimeoutMs;
  limits.scheduler = options.attachTimeoutMs + 5'000;
  limits.scenario += static_cast<uint32_t>(std::min<uint64_t>(
      totalHoldMs(options, scenario) + 5'000 * scenario.getSteps().size(), 24 * 3'600'000));
  if (wantsBaseline(options, scenario))
    limits.collect += 10'000;  // the scheduler ends and leaves, 9 s at most
  return limits;
}

std::optional<Error> overCleanupBudget(const RunOptions& options, const Phases& phases) {
  double took = 0;
  for (const PhaseTime& phase : phases.list()) {
    if (phase.name == "shutdown" || phase.name == "wind down") took += phase.durationMs;
  }
  if (options.cleanupBudgetMs == 0 || took <= options.cleanupBudgetMs) return std::nullopt;
  return Error(ExitCode::fail, "cleanup-over-budget",
               text("the machine took ", took, " ms to end, and may take ", options.cleanupBudgetMs),
               "the record's phases \"shutdown\" and \"wind down\" say which part");
}

}  // namespace ktstr
