#include "orchestrator/host_writes.h"

#include <algorithm>

#include "guest/scenario/operations.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t maxWatchdogWrites = 64;
constexpr auto patience = 10 * kj::SECONDS;

template <typename T, typename Messages>
void keep(typename T::Reader what, Messages& messages) {
  messages.push_back(std::make_unique<capnp::MallocMessageBuilder>());
  messages.back()->setRoot(what);
}

template <typename T, typename Messages>
std::vector<typename T::Reader> readAll(const Messages& messages) {
  std::vector<typename T::Reader> all;
  for (const auto& message : messages) all.push_back(message->template getRoot<T>().asReader());
  return all;
}

}  // namespace

void HostWrites::onEvent(rpc::GuestEvent::Reader event) {
  if (event.isScenarioStarted()) letGoAfterStart(true);
  if (event.isWriteRequested()) write(event.getWriteRequested().getStep(), event.getWriteRequested().getOp());
}

void HostWrites::onRecord(rpc::MonitorRecord::Reader record) {
  if (record.isMapWrite() && isAsked(record.getMapWrite()))
    keep<rpc::MapWriteOutcome>(record.getMapWrite(), mapWrites_);
  if (record.isWatchdog() && watchdog_.size() < maxWatchdogWrites)
    keep<rpc::WatchdogWrite>(record.getWatchdog(), watchdog_);
  if (record.isMapWrite() || record.isWatchdog()) letGoAfterStart(false);
}

// Counts it, too.
bool HostWrites::isAsked(rpc::MapWriteOutcome::Reader outcome) {
  if (!outcome.getOfOperation()) return toldAtStart_ < asked_.mapWrites.size() && ++toldAtStart_ > 0;
  Request* const request = find(outcome.getStep(), outcome.getOp());
  return request != nullptr && request->told < request->writes.size() && ++request->told > 0;
}

// The scenario begins when all that was to be written into the scheduler is there, or is known not to be.
// `begun`: the guest has waited no longer; its waits and our answers are counted, and stay in step.
void HostWrites::letGoAfterStart(bool begun) {
  const bool asked = !asked_.mapWrites.empty() || asked_.watchdogMs != 0;
  const bool all = toldAtStart_ == asked_.mapWrites.size() && (asked_.watchdogMs == 0 || !watchdog_.empty());
  if (!asked || letGo_ || !(all || begun)) return;
  letGo_ = true;
  letGoOn_();
}

HostWrites::Request* HostWrites::find(uint32_t step, uint32_t op) {
  const auto is = [&](const Request& request) { return request.step == step && request.op == op; };
  const auto found = std::find_if(requests_.begin(), requests_.end(), is);
  return found == requests_.end() ? nullptr : &*found;
}

// What is written is what the scenario says, once, whatever the guest says.
void HostWrites::write(uint32_t step, uint32_t op) {
  const auto operation = operationAt(scenario_, step, op);
  if (!operation || !operation->isWriteMap() || find(step, op) != nullptr) return letGoOn_();
  requests_.push_back({step, op, operation->getWriteMap()});
  tasks_.add(ask(requests_.back()).then([this] { letGoOn_(); }));
}

kj::Promise<void> HostWrites::ask(const Request& what) {
  const uint32_t step = what.step, op = what.op;
  KJ_IF_MAYBE (monitor, monitor_) {
    auto request = monitor->writeRequest();
    request.setStep(step);
    request.setOp(op);
    request.setWrites(what.writes);
    auto late = timer_.afterDelay(patience).then([=, this] {
      fail(step, op, "timed-out", text("the monitor did not answer within ", patience / kj::SECONDS, " s"));
    });
    return request.send()
        .ignoreResult()
        .catch_([=, this](kj::Exception&& exception) {
          fail(step, op, "monitor-failed", exception.getDescription().cStr());
        })
        .exclusiveJoin(kj::mv(late));
  }
  fail(step, op, "no-monitor", "this run has no monitor that could write");
  return kj::READY_NOW;
}

void HostWrites::fail(uint32_t step, uint32_t op, const char* failure, const std::string& problem) {
  Request& request = *find(step, op);
  for (; request.told < request.writes.size(); ++request.told) {
    capnp::MallocMessageBuilder message;
    auto outcome = message.initRoot<rpc::MapWriteOutcome>();
    outcome.setAsked(request.writes[static_cast<unsigned>(request.told)]);
    outcome.setFailure(failure);
    outcome.setProblem(problem);
    outcome.setOfOperation(true);
    outcome.setStep(step);
    outcome.setOp(op);
    keep<rpc::MapWriteOutcome>(outcome.asReader(), mapWrites_);
  }
}

void HostWrites::end() {
  for (const Request& request : requests_)
    fail(request.step, request.op, "run-ended", "the run was over before the monitor had written it");
}

MapWrites HostWrites::mapWrites() const {
  return {asked_.mapWrites, readAll<rpc::MapWriteOutcome>(mapWrites_)};
}

WatchdogWrites HostWrites::watchdog() const {
  return {asked_.watchdogMs, readAll<rpc::WatchdogWrite>(watchdog_)};
}

void HostWrites::taskFailed(kj::Exception&& exception) {
  log::warn(text("a write into the scheduler: ", exception.getDescription().cStr()));
}

}  // namespace ktstr
