#include "orchestrator/performance.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "protocol/file.h"
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
  for (const char* no : {"0", ""}) {
    setenv("KTSTR_NO_PERF_MODE", no, 1);
    EXPECT_EQ(modeOf(with(1)), rpc::PerformanceFacts::Mode::ORDINARY) << no;
  }
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

TEST(Performance, OnlyKvmCanHaveIt) {
  PerformancePlan ordinary;
  ordinary.haltPollNanos = 200'000;
  fitAccelerator(ordinary, "kvm", "hardware");
  EXPECT_TRUE(ordinary.haltPollNanos);
  fitAccelerator(ordinary, "tcg", "missing");
  EXPECT_FALSE(ordinary.haltPollNanos) << "TCG polls nothing";
  PerformancePlan plan;
  plan.host.emplace();
  EXPECT_NO_THROW(fitAccelerator(plan, "kvm", "hardware"));
  EXPECT_EQ(errorOf([&] { fitAccelerator(plan, "tcg", "flat-only"); }),
            "performance-mode-needs-kvm: the machine would run on tcg: flat-only "
            "(run without --performance-mode)");
}

// The prerequisites are looked at in this order.
TEST(Performance, HostThatCannotGiveItIsNamedWithARemedy) {
  RunOptions options = with(512);
  options.performanceMode = true;
  const auto number = [](const char* path) { return atoll(readFileIfThere(path).value_or("-1").c_str()); };
  const long long runtime = number("/proc/sys/kernel/sched_rt_runtime_us");
  const bool throttled = runtime >= 0 && runtime < number("/proc/sys/kernel/sched_rt_period_us");
  const std::string why = errorOf([&] { planPerformance(options, memory); });
  EXPECT_THAT(why, HasSubstr(throttled ? "realtime-throttled: SCHED_FIFO may have " : "host-too-small: "));
  EXPECT_THAT(why, HasSubstr("without performance mode"));
}

// What takeServicePlace() throws for an ordinary user without ulimit -r.
std::string refusal(const HostPlan& plan) {
  const Fd said = makeMemfd("said", 0);
  const pid_t pid = fork();
  if (pid == 0) {
    const rlimit none{0, 0};
    const bool ordinary =
        setrlimit(RLIMIT_RTPRIO, &none) == 0 && (geteuid() != 0 || setresuid(61001, 61001, 61001) == 0);
    writeAll(said.get(), ordinary ? errorOf([&] { takeServicePlace(plan); }) : "cannot become one");
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
  return readAll(said.get());
}

TEST(Performance, HarnessThatCannotHaveItsPlaceIsNamedWithARemedy) {
  HostPlan nowhere;
  nowhere.service = {1023};
  EXPECT_EQ(refusal(nowhere),
            "pinning-refused: keep the harness off the vCPUs' CPUs: Invalid argument "
            "(let its cpuset have them, or run without performance mode)");
  HostPlan plan;
  for (const HostCpu& cpu : readHostCpus()) plan.service.push_back(static_cast<uint16_t>(cpu.cpu));
  EXPECT_THAT(refusal(plan), testing::AllOf(HasSubstr("realtime-refused: run under SCHED_FIFO 2: "
                                                      "Operation not permitted"),
                                            HasSubstr("ulimit -r 2")));
}

}  // namespace
}  // namespace ktstr
