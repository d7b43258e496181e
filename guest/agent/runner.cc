#include "guest/agent/runner.h"

#include <cmath>
#include <utility>

#include "guest/scenario/validate.h"
#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

// How long workers have to stop: each needs the CPU once, and thousands on a few CPUs take turns.
uint64_t stopBoundMs(size_t workers) {
  return 2000 + 5 * workers;
}
constexpr uint64_t killBoundMs = 1000;

}  // namespace

Runner::Runner(rpc::GuestOrders::Reader orders, Channel& channel, Supervisor& supervisor, Cgroups& cgroups,
               Hook hook)
    : orders_(orders),
      channel_(channel),
      supervisor_(supervisor),
      cgroups_(cgroups),
      hook_(std::move(hook)) {}

void Runner::run() {
  channel_.post([](rpc::GuestEvent::Builder event) { event.setScenarioStarted(); });
  const auto steps = orders_.getScenario().getSteps();
  for (uint32_t index = 0; index < steps.size() && !failed_ && !supervisor_.cutShort(); index++) {
    runStep(index, steps[index]);
  }
  channel_.post([](rpc::GuestEvent::Builder event) { event.setScenarioEnded(); });
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

void Runner::runStep(uint32_t index, rpc::Step::Reader step) {
  Workers workers(index, channel_, cgroups_);
  supervisor_.watch(&workers);
  const std::shared_ptr<void> unwatch(nullptr, [this](void*) { supervisor_.watch(nullptr); });
  attempt(index, [&] {
    startStep(index, step, workers);
    act(index, step, workers);
  });
  if (!workers.started()) workers.abandon();
  stopWorkers(workers, std::nullopt);
  attempt(index, [&] {
    if (!unkillable_) cgroups_.removeAll();
  });
  channel_.post([&](rpc::GuestEvent::Builder event) { event.initStepEnded().setStep(index); });
}

void Runner::act(uint32_t index, rpc::Step::Reader step, Workers& workers) {
  if (hook_ && !workers.all().empty()) std::exchange(hook_, {})(workers.pids());
  const auto ops = step.getOps();
  for (uint32_t op = 0; op < ops.size() && !supervisor_.cutShort(); op++)
    applyOp(index, op, ops[op], workers);
  const auto length = step.getHold();
  hold(length.isFixedMs()
           ? length.getFixedMs()
           : static_cast<uint64_t>(std::floor(length.getFraction() * orders_.getScenario().getDurationMs())));
}

void Runner::startStep(uint32_t index, rpc::Step::Reader step, Workers& workers) {
  for (const auto& cgroup : step.getCgroups()) {
    cgroups_.create(cgroup.getName().cStr());
    applyCpuset(cgroup.getName().cStr());
    if (cgroup.getCpuWeight() > 0) cgroups_.setWeight(cgroup.getName().cStr(), cgroup.getCpuWeight());
    workers.spawn(cgroup);
  }
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initStepStarted();
    out.setStep(index);
    out.setWorkers(static_cast<uint32_t>(workers.all().size()));
  });
  workers.go();
}

// The host resolved all cpusets in the order in which they are used here.
void Runner::applyCpuset(const std::string& cgroup) {
  const auto cpusets = orders_.getCpusets();
  if (nextCpuset_ >= cpusets.size() || cgroup != cpusets[nextCpuset_].getCgroup().cStr()) {
    throw Failure(FailureName::ORDERS_INVALID,
                  text("cpuset ", nextCpuset_, " of the orders is not for ", cgroup));
  }
  std::vector<uint32_t> cpus = cpuNumbers(cpusets[nextCpuset_++].getCpus());
  cgroups_.setCpus(cgroup, cpus.empty() ? std::nullopt : std::optional(std::move(cpus)));
}

void Runner::applyOp(uint32_t stepIndex, uint32_t opIndex, rpc::Op::Reader op, Workers& workers) {
  std::string detail;
  switch (op.which()) {
    case rpc::Op::ADD_CGROUP:
      cgroups_.create(op.getAddCgroup().cStr());
      detail = text("added ", op.getAddCgroup().cStr());
      break;
    case rpc::Op::REMOVE_CGROUP:
      stopWorkers(workers, std::string(op.getRemoveCgroup().cStr()));
      cgroups_.remove(op.getRemoveCgroup().cStr());
      detail = text("removed ", op.getRemoveCgroup().cStr());
      break;
    case rpc::Op::SET_CPUSET: {
      const std::string cgroup = op.getSetCpuset().getCgroup().cStr();
      applyCpuset(cgroup);
      workers.cpusetsChanged();
      const auto cpus = cgroups_.effectiveCpus(cgroup);
      detail = text("cpuset of ", cgroup, ": ", cpus ? cpuList(*cpus) : std::string("inherited"));
      break;
    }
    case rpc::Op::STOP_CGROUP:
      stopWorkers(workers, std::string(op.getStopCgroup().cStr()));
      detail = text("stopped ", op.getStopCgroup().cStr());
      break;
    case rpc::Op::SLEEP_MS:
      hold(op.getSleepMs());
      detail = text("slept ", op.getSleepMs(), " ms");
      break;
  }
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initOpApplied();
    out.setStep(stepIndex);
    out.setOp(opIndex);
    out.setDetail(detail);
  });
}

void Runner::hold(uint64_t milliseconds) {
  supervisor_.wait(
      inMilliseconds(milliseconds), [] { return false; }, true);
}

void Runner::stopWorkers(Workers& workers, const std::optional<std::string>& cgroup) {
  const auto ended = [&] { return workers.allEnded(cgroup); };
  workers.tellStop(cgroup);
  if (!supervisor_.wait(inMilliseconds(stopBoundMs(workers.all().size())), ended)) {
    workers.killStuck(cgroup);
    if (!supervisor_.wait(inMilliseconds(killBoundMs), ended)) unkillable_ = true;
  }
  workers.report(cgroup);
}

}  // namespace ktstr::agent
