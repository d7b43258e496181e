// For tests of the timeline: a made-up run, event by event.
#pragma once

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/render_timeline.h"
#include "orchestrator/timeline.h"
#include "protocol/json.h"

namespace ktstr::timeline_testing {

inline constexpr uint64_t ms = 1'000'000;
inline constexpr uint64_t start = 1000 * ms;  // the scenario's, by the guest's clock
inline constexpr uint64_t hostAhead = 50'000 * ms;

struct Group {
  const char* cgroup;
  uint64_t iterations, cpuMs = 0;
  uint32_t step = 0;
  const char* work = "spin";
};
using Groups = std::vector<Group>;

class TimelineTest : public ::testing::Test {
 protected:
  TimelineTest() {
    fromJson(R"({"name":"x","steps":[
      {"name":"run","cgroups":[{"name":"a","work":[{"type":{"spinWait":{}}}]}],
       "ops":[{"freezeCgroup":"a"},{"sleepMs":500},{"unfreezeCgroup":"a"},{"swapCpusets":{"a":"a","b":"b"}}]},
      {"name":"loop","ops":[{"addCgroup":"c"},{"removeCgroup":"c"}],"hold":{"loop":{}}}]})",
             scenario_->initRoot<rpc::Scenario>());
    at(0).setScenarioStarted();
  }

  // An event `afterMs` into the scenario, which began `tookMs` before.
  rpc::GuestEvent::Builder at(uint64_t afterMs, const Groups& progress = {}, uint64_t tookMs = 0,
                              const Groups& before = {}) {
    messages_.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    auto event = messages_.back()->initRoot<rpc::GuestEvent>();
    event.setAtNs(start + afterMs * ms);
    fill(progress, event.initProgress(static_cast<unsigned>(progress.size())));
    if (tookMs > 0) event.setBeganNs(start + (afterMs - tookMs) * ms);
    fill(before, event.initBefore(static_cast<unsigned>(before.size())));
    return event;
  }
  void op(uint64_t afterMs, uint32_t index, uint64_t tookMs, const Groups& before, const Groups& after,
          uint32_t step = 0) {
    auto applied = at(afterMs, after, tookMs, before).initOpApplied();
    applied.setStep(step);
    applied.setOp(index);
  }

  // Samples every 100 ms until then, at the guest's 50, 150, ... ms.
  void sampleUntil(uint64_t untilMs) {
    for (uint64_t t = 50; t < untilMs; t += 100) {
      TimelineSample sample;
      sample.atNs = hostAhead + start + t * ms;
      sample.imbalance = 2;
      samples_.push_back(sample);
    }
  }

  capnp::List<rpc::TimelinePhase>::Reader phases() {
    std::vector<rpc::GuestEvent::Reader> events;
    for (const auto& message : messages_) events.push_back(message->getRoot<rpc::GuestEvent>().asReader());
    auto record = record_->initRoot<rpc::RunRecord>();
    writeTimeline({scenario_->getRoot<rpc::Scenario>().asReader(), events, samples_, clock_}, record);
    return record.asReader().getTimeline();
  }
  std::vector<std::string> names() {
    std::vector<std::string> list;
    for (const auto phase : phases()) list.emplace_back(phase.getName().cStr());
    return list;
  }
  std::string rendered(TimelineView view) {
    return renderTimeline(record_->getRoot<rpc::RunRecord>().asReader(), view, false);
  }

  // Whose destructors may throw, as a fixture's may not.
  std::unique_ptr<capnp::MallocMessageBuilder> scenario_ = std::make_unique<capnp::MallocMessageBuilder>(),
                                               record_ = std::make_unique<capnp::MallocMessageBuilder>();
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages_;
  std::vector<TimelineSample> samples_;
  std::optional<ClockOffset> clock_ = ClockOffset{static_cast<int64_t>(hostAhead), ms, 1, 1};

 private:
  static void fill(const Groups& groups, capnp::List<rpc::GroupProgress>::Builder out) {
    for (unsigned i = 0; i < out.size(); i++) {
      out[i].setStep(groups[i].step);
      out[i].setCgroup(groups[i].cgroup);
      out[i].setWork(groups[i].work);
      out[i].setWorkers(2);
      out[i].setIterations(groups[i].iterations);
      out[i].setCpuNs(groups[i].cpuMs * ms);
      out[i].setTimesValid(true);
    }
  }
};

}  // namespace ktstr::timeline_testing
