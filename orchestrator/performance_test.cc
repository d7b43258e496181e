#include "orchestrator/performance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>

#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

constexpr uint64_t memory = uint64_t{512} << 20;

uint32_t cpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  return static_cast<uint32_t>(CPU_COUNT(&allowed));
}

RunOptions with(uint32_t vcpus) {
  RunOptions options;
  options.topology = parseTopology("1n1l" + std::to_string(vcpus) + "c1t");
  return options;
}

rpc::PerformanceFacts::Mode modeOf(const RunOptions& options) {
  capnp::MallocMessageBuilder message;
  auto facts = message.initRoot<rpc::PerformanceFacts>();
  writePerformance(options, planPerformance(options, memory), facts);
  return facts.getMode();
}

TEST(Performance, HaltPollingIsForMachinesThatHaveTheirCpus) {
  const PerformancePlan fits = planPerformance(with(cpus()), memory);
  EXPECT_EQ(fits.haltPollNanos, 200'000u);
  EXPECT_FALSE(fits.host);
  EXPECT_EQ(planPerformance(with(cpus() + 1), memory).haltPollNanos, 0u) << "more vCPUs than CPUs";
  EXPECT_EQ(modeOf(with(1)), rpc::PerformanceFacts::Mode::ORDINARY);

  capnp::MallocMessageBuilder message;
  auto placement = message.initRoot<rpc::Placement>();
  writePlacement(fits, placement);
  EXPECT_EQ(placement.getHaltPoll().getNanos(), 200'000u);
  EXPECT_EQ(placement.getCpus().size(), 0u);
  EXPECT_FALSE(placement.getKeepIdle());
}

TEST(Performance, SwitchedOffTouchesNothing) {
  RunOptions options = with(1);
  options.noPerformanceMode = true;
  EXPECT_FALSE(planPerformance(options, memory).haltPollNanos);
  EXPECT_EQ(modeOf(options), rpc::PerformanceFacts::Mode::OFF);
  setenv("KTSTR_NO_PERF_MODE", "1", 1);
  EXPECT_FALSE(planPerformance(with(1), memory).haltPollNanos);
  EXPECT_EQ(modeOf(with(1)), rpc::PerformanceFacts::Mode::OFF);
  unsetenv("KTSTR_NO_PERF_MODE");
}

TEST(Performance, WhatExcludesIsNamed) {
  RunOptions options = with(1);
  options.performanceMode = true;
  options.accelerator = "tcg";
  EXPECT_THAT(errorOf([&] { planPerformance(options, memory); }),
              HasSubstr("performance-mode-conflict: --performance-mode needs KVM, but --accel is tcg"));
  options.accelerator = "auto";
  options.noPerformanceMode = true;
  EXPECT_THAT(errorOf([&] { planPerformance(options, memory); }),
              HasSubstr("performance-mode-conflict: --performance-mode and --no-perf-mode"));
  options.noPerformanceMode = false;
  setenv("KTSTR_NO_PERF_MODE", "1", 1);
  EXPECT_THAT(errorOf([&] { planPerformance(options, memory); }),
              HasSubstr("performance-mode-conflict: --performance-mode, but KTSTR_NO_PERF_MODE is set"));
  unsetenv("KTSTR_NO_PERF_MODE");
}

// On this host either of the two prerequisites that are looked at first is missing, or the machine is too
// large for it.
TEST(Performance, HostThatCannotGiveItIsNamedWithARemedy) {
  RunOptions options = with(512);
  options.performanceMode = true;
  const std::string why = errorOf([&] { planPerformance(options, memory); });
  EXPECT_THAT(why, testing::AnyOf(HasSubstr("realtime-throttled: SCHED_FIFO may have "),
                                  HasSubstr("host-too-small: ")));
  EXPECT_THAT(why, HasSubstr("without performance mode"));
}

}  // namespace
}  // namespace ktstr
