// For tests of what the monitor's records prove: a machine that is sampled, to be spoilt.
#pragma once

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "orchestrator/monitor_summary.h"
#include "orchestrator/timeline_samples.h"

namespace ktstr {

inline constexpr uint64_t ms = 1'000'000;

// A sample of two busy CPUs with clocks that advance, a period after the one before, to be spoilt before it
// counts. The timeline gets all of them, too, and in the end it must have counted the same stalls.
class Machine {
 public:
  explicit Machine(Limits limits = {}, uint64_t periodMs = usualSamplePeriodMs, bool inScenario = true)
      : analysis_(limits, static_cast<uint32_t>(periodMs)), periodNs_(periodMs * ms) {
    capnp::MallocMessageBuilder message;
    message.initRoot<rpc::MonitorRecord>().initAttached().setCpus(2);
    analysis_.add(message.getRoot<rpc::MonitorRecord>().asReader());
    if (inScenario) analysis_.beginScenario();
  }
  ~Machine() {
    EXPECT_EQ(timelineStalls_, analysis_.soFar().stalledSamples);
    EXPECT_EQ(timelineSamples_, analysis_.soFar().validSamples);
  }

  template <typename Spoil>
  void sample(Spoil spoil) {
    ++tick_;
    capnp::MallocMessageBuilder message;
    auto sample = message.initRoot<rpc::MonitorRecord>().initSample();
    atNs_ += periodNs_;
    sample.setSequence(tick_);
    sample.setAtNs(atNs_);
    sample.setCostNs(50'000);
    sample.setJiffies(1000 + tick_ * 25);
    sample.getScx().setPresent(true);
    sample.getScx().setState(rpc::ScxState::ENABLED);
    sample.getScx().setOpsName("simple");
    auto cpus = sample.initCpus(2);
    for (uint32_t i = 0; i < 2; ++i) {
      cpus[i].setCpu(i);
      cpus[i].setValid(true);
      cpus[i].setNrRunning(2);
      cpus[i].setCurrPid(77);
      cpus[i].setClock(atNs_);
      cpus[i].setScxValid(true);
      cpus[i].setLocalDsqDepth(1);
    }
    if (fed_) {
      for (uint32_t i = 0; i < 2; ++i) cpus[i].setHostTimeNs(hostNs_[i] += (*fed_)[i] * ms);
      sample.setVcpuTimesAtNs(atNs_ + ms);
    }
    spoil(sample);
    add(message.getRoot<rpc::MonitorRecord>().asReader());
  }
  void samples(int count) {
    for (int i = 0; i < count; ++i) sample([](auto) {});
  }
  // `count` samples in which CPU 1's clock stands where it stood in the last good one.
  void stalls(int count) {
    const uint64_t clock = atNs_;
    for (int i = 0; i < count; ++i) {
      sample([&](rpc::Sample::Builder s) { s.getCpus()[1].setClock(clock); });
    }
  }
  // From now on the VMM tells the vCPUs' times: so many ms of a host CPU each from sample to sample.
  void feed(uint64_t cpu0, uint64_t cpu1) { fed_ = {cpu0, cpu1}; }
  void skip(uint64_t nanoseconds) { atNs_ += nanoseconds; }

  MonitorAnalysis& analysis() { return analysis_; }
  MonitorEvidence evidence() const { return analysis_.evidence(); }

 private:
  void add(rpc::MonitorRecord::Reader record) {
    const uint64_t counted = analysis_.soFar().samples;
    const size_t kept = timeline_.all().size();
    timeline_.add(record, analysis_.add(record));
    if (analysis_.soFar().samples == counted || timeline_.all().size() == kept) return;
    ++timelineSamples_;
    if (timeline_.all().back().stalled) ++timelineStalls_;
  }

  MonitorAnalysis analysis_;
  TimelineSamples timeline_;
  uint64_t timelineSamples_ = 0, timelineStalls_ = 0;  // of those that the analysis counts
  uint64_t periodNs_;
  uint64_t tick_ = 0, atNs_ = 5'000 * ms;
  std::optional<std::array<uint64_t, 2>> fed_;
  std::array<uint64_t, 2> hostNs_ = {700 * ms, 900 * ms};
};

}  // namespace ktstr
