#include <gtest/gtest.h>

#include "orchestrator/monitor_testing.h"

namespace ktstr {
namespace {

// A counter on CPU 1 that goes up by so many from sample to sample, 100 ms apart.
class Counting {
 public:
  explicit Counting(const char* event) : machine_(limitsOf()) {
    capnp::MallocMessageBuilder message;
    message.initRoot<rpc::MonitorRecord>().initAttached().initScxEventNames(2).set(1, event);
    machine_.analysis().add(message.getRoot<rpc::MonitorRecord>().asReader());
  }
  void samples(int count, uint64_t more) {
    for (int i = 0; i < count; ++i) {
      machine_.sample([&](rpc::Sample::Builder sample) {
        sample.getCpus()[0].initScxEvents(2);
        sample.getCpus()[1].initScxEvents(2).set(1, total_ += more);
      });
    }
  }
  void unreadable() { machine_.samples(1); }
  void feed(uint64_t cpu0, uint64_t cpu1) { machine_.feed(cpu0, cpu1); }
  MonitorEvidence evidence() const { return machine_.evidence(); }

 private:
  static Limits limitsOf() {
    Limits limits;
    limits.maxFallbackRate = limits.maxKeepLastRate = {100};
    return limits;
  }
  Machine machine_;
  uint64_t total_ = 0;
};

TEST(MonitorRates, aRateMustBeSustainedToCount) {
  for (const bool fallback : {true, false}) {
    Counting run(fallback ? "SCX_EV_SELECT_CPU_FALLBACK" : "SCX_EV_DISPATCH_KEEP_LAST");
    const auto seen = fallback ? &MonitorEvidence::fallback : &MonitorEvidence::keepLast;
    const auto other = fallback ? &MonitorEvidence::keepLast : &MonitorEvidence::fallback;
    run.samples(11, 10);  // 100 a second: the limit
    EXPECT_EQ((run.evidence().*seen).intervals, 10u);
    EXPECT_FALSE((run.evidence().*seen).over);
    run.samples(4, 11);
    run.unreadable();
    run.samples(5, 11);
    EXPECT_FALSE((run.evidence().*seen).over) << "four and four";
    run.samples(1, 12);
    const auto over = (run.evidence().*seen).over;
    ASSERT_TRUE(over);
    EXPECT_EQ(over->run, 5u);
    EXPECT_NEAR(over->value, 120, 1e-6);
    EXPECT_EQ((run.evidence().*other).intervals, 0u);
  }
}

TEST(MonitorRates, aRateOfAStarvedVcpuIsTheHosts) {
  Counting run("SCX_EV_SELECT_CPU_FALLBACK");
  run.feed(100, 2);
  run.samples(8, 50);
  EXPECT_FALSE(run.evidence().fallback.over);
  EXPECT_TRUE(run.evidence().fallback.starved);
}

TEST(MonitorRates, WhatTheKernelCountedWhileTheScenarioRan) {
  Machine machine;
  uint32_t count = 0;
  const auto more = [&](rpc::Sample::Builder sample) {
    ++count;
    for (auto cpu : sample.getCpus()) {
      auto schedstat = cpu.initSchedstat();
      schedstat.setSchedCount(100 * count);
      schedstat.setTtwuCount(40 * count);
      schedstat.setTtwuLocal(10 * count);
      schedstat.setRunDelayNs(5 * ms * count);
    }
    auto program = sample.initProgs(1)[0];
    program.setId(7);
    program.setName("dispatch");
    program.setRuns(50 * count);
    program.setNanos(50'000 * count);
  };
  for (int i = 0; i < 11; ++i) machine.sample(more);
  machine.analysis().endScenario();
  for (int i = 0; i < 5; ++i) machine.sample(more);
  capnp::MallocMessageBuilder message;
  auto summary = message.initRoot<rpc::MonitorSummary>();
  writeMonitorSummary(machine.evidence(), summary);
  EXPECT_DOUBLE_EQ(summary.getSchedulesPerSecond(), 2000);
  EXPECT_DOUBLE_EQ(summary.getLocalWakeupShare(), 0.25);
  EXPECT_DOUBLE_EQ(summary.getRunDelayMsPerSecond(), 100);
  ASSERT_EQ(summary.getPrograms().size(), 1u);
  EXPECT_EQ(summary.getPrograms()[0].getRuns(), 500u);
  EXPECT_DOUBLE_EQ(summary.getPrograms()[0].getNanosPerRun(), 1000);
}

}  // namespace
}  // namespace ktstr
