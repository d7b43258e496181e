#include "guest/agent/runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr uint64_t clockBoundMs = 20;

}  // namespace

Runner::Runner(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
               Pass pass, Hook hook)
    : orders_(orders),
      channel_(channel),
      supervisor_(supervisor),
      pass_(pass),
      stage_(orders, channel, supervisor, cgroups, pass == Pass::baseline),
      operations_(orders, channel, supervisor, stage_),
      hook_(std::move(hook)) {}

bool Runner::run() {
  channel_.post([&](rpc::GuestEvent::Builder event) {
    pass_ == Pass::scenario ? event.setScenarioStarted() : event.setBaselineStarted();
  });
  channel_.awaitHost(clockBoundMs);
  const auto scenario = orders_.getScenario();
  const auto backdrop = scenario.getBackdrop();
  const bool hasBackdrop = backdrop.getCgroups().size() + backdrop.getOps().size() > 0;
  if (hasBackdrop) {
    attempt(rpc::BACKDROP_STEP, [&] {
      start(rpc::BACKDROP_STEP, backdrop.getCgroups());
      applyOps(rpc::BACKDROP_STEP, backdrop.getOps());
    });
  }
  for (uint32_t index = 0; index < scenario.getSteps().size() && !cut(); index++) {
    runStep(index, scenario.getSteps()[index]);
  }
  if (hasBackdrop) end(rpc::BACKDROP_STEP);
  if (pass_ == Pass::scenario)
    channel_.post([](rpc::GuestEvent::Builder event) { event.setScenarioEnded(); });
  channel_.awaitHost(clockBoundMs);
  return !cut();
}

void Runner::attempt(uint32_t step, const std::function<void()>& part) {
  try {
    part();
  } catch (Failure& failure) {
    failure.step = step;
    channel_.failure(failure);
    failed_ = true;
  }
}

void Runner::start(uint32_t step, capnp::List<rpc::CgroupDef>::Reader cgroups) {
  const ProgressReading before = stage_.progress();
  for (const auto& cgroup : cgroups) stage_.make(step, cgroup);
  const auto waits = [](const Worker& worker) { return !worker.started; };
  const auto& workers = stage_.workers.all();
  const auto waiting = std::count_if(workers.begin(), workers.end(), waits);
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initStepStarted();
    out.setStep(step);
    out.setWorkers(static_cast<uint32_t>(waiting));
    before.writeBefore(event);
  });
  stage_.workers.go();
  if (hook_ && !workers.empty()) std::exchange(hook_, {})(stage_.workers.pids());
}

void Runner::end(uint32_t step) {
  stage_.looping = false;
  const ProgressReading before = stage_.progress();
  attempt(step, [&] { stage_.endStep(step); });
  channel_.post([&](rpc::GuestEvent::Builder event) {
    event.initStepEnded().setStep(step);
    before.writeBefore(event);
  });
}

void Runner::runStep(uint32_t index, rpc::Step::Reader step) {
  attempt(index, [&] {
    start(index, step.getCgroups());
    const auto length = step.getHold();
    if (length.isLoop()) return loop(index, step);
    applyOps(index, step.getOps());
    hold(length.isFixedMs() ? length.getFixedMs() : share(length.getFraction()));
  });
  end(index);
}

void Runner::loop(uint32_t index, rpc::Step::Reader step) {
  const auto settings = step.getHold().getLoop();
  const uint64_t end = inMilliseconds(share(settings.getFraction()));
  stage_.looping = true;
  while (monotonicNs() < end && !cut()) {
    applyOps(index, step.getOps());
    hold(settings.getIntervalMs());
  }
}

void Runner::applyOps(uint32_t step, capnp::List<rpc::Op>::Reader ops) {
  for (uint32_t index = 0; index < ops.size() && !cut(); index++) {
    const ProgressReading before = stage_.progress();
    const std::string detail = operations_.apply(step, static_cast<int32_t>(index), ops[index]);
    channel_.post([&](rpc::GuestEvent::Builder event) {
      auto out = event.initOpApplied();
      out.setStep(step);
      out.setOp(index);
      out.setDetail(detail);
      before.writeBefore(event);
    });
  }
}

void Runner::hold(uint64_t milliseconds) {
  supervisor_.wait(
      inMilliseconds(milliseconds), [&] { return stage_.broken(); }, true);
}

uint64_t Runner::share(double fraction) const {
  return static_cast<uint64_t>(std::floor(fraction * orders_.getScenario().getDurationMs()));
}

void runPasses(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
               Runner::Hook hook) {
  const bool whole = Runner(orders, channel, supervisor, cgroups, Pass::scenario, std::move(hook)).run();
  if (!orders.getBaseline() || !whole) return;
  supervisor.detachScheduler();
  Runner(orders, channel, supervisor, cgroups, Pass::baseline).run();
}

}  // namespace ktstr::agent
