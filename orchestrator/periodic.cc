#include "orchestrator/periodic.h"

#include <algorithm>

#include "protocol/fd.h"

namespace ktstr {

void SnapshotSchedule::resume(uint64_t nowNs) {
  if (!resumedNs_) resumedNs_ = nowNs;
}

void SnapshotSchedule::pause(uint64_t sinceNs) {
  if (!resumedNs_) return;
  passedNs_ += std::max(sinceNs, *resumedNs_) - *resumedNs_;
  resumedNs_.reset();
}

std::optional<uint64_t> SnapshotSchedule::next() const {
  if (!resumedNs_ || done()) return std::nullopt;
  const uint64_t due = times_[begun_];
  return *resumedNs_ + (due > passedNs_ ? due - passedNs_ : 0);
}

std::string SnapshotSchedule::begin() {
  const std::string number = std::to_string(begun_++);
  return "periodic_" + std::string(number.size() < 3 ? 3 - number.size() : 0, '0') + number;
}

void PeriodicSnapshots::onEvent(rpc::GuestEvent::Reader event) {
  stats_.onEvent(event);
  const uint64_t now = monotonicNs();
  switch (event.which()) {
    case rpc::GuestEvent::STEP_STARTED:
      schedule_.resume(now);
      return arm();
    case rpc::GuestEvent::STEP_ENDED: {
      const bool told = event.getBeganNs() != 0 && event.getBeganNs() <= event.getAtNs();
      const uint64_t took = told ? event.getAtNs() - event.getBeganNs() : 0;
      schedule_.pause(now - std::min(now, took));
      return arm();
    }
    case rpc::GuestEvent::BASELINE_STARTED:
    case rpc::GuestEvent::SCENARIO_ENDED:
      return end();
    default:
      return;
  }
}

void PeriodicSnapshots::end() {
  waiting_ = kj::READY_NOW;
  while (!schedule_.done()) {
    snapshots_.miss(schedule_.begin(), rpc::DumpReason::PERIODIC,
                    "run-ended: the scenario was over before it was due");
  }
}

void PeriodicSnapshots::arm() {
  const auto due = schedule_.next();
  if (!due || !taken_) {
    waiting_ = kj::READY_NOW;
    return;
  }
  const uint64_t now = monotonicNs();
  const auto delay = static_cast<int64_t>(*due - std::min(*due, now)) * kj::NANOSECONDS;
  waiting_ = timer_.afterDelay(delay).then([this] { fire(); }).eagerlyEvaluate(nullptr);
}

void PeriodicSnapshots::fire() {
  if (schedule_.done()) return;
  taken_ = false;
  taking_ = stats_.ask()
                .then([this, name = schedule_.begin()](SchedulerAnswer answer) {
                  return snapshots_.take(name, rpc::DumpReason::PERIODIC, answer.json, answer.problem);
                })
                .then([this](SnapshotFact) {
                  taken_ = true;
                  arm();
                })
                .eagerlyEvaluate(nullptr);
}

}  // namespace ktstr
