#include "orchestrator/performance.h"

#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

bool switchedOff(const RunOptions& options) {
  const char* variable = getenv("KTSTR_NO_PERF_MODE");
  const std::string_view value = variable != nullptr ? variable : "";
  return options.noPerformanceMode || (!value.empty() && value != "0");
}

uint32_t usableCpus() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return static_cast<uint32_t>(CPU_COUNT(&allowed));
  return static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN));  // more CPUs than such a set has bits
}

// Real-time throttling takes a share of each CPU away from vCPUs that never leave the guest
// (Documentation/scheduler/sched-rt-group.rst).
void checkThrottling() {
  const std::string runtime = readFileIfThere("/proc/sys/kernel/sched_rt_runtime_us").value_or("-1");
  const std::string period = readFileIfThere("/proc/sys/kernel/sched_rt_period_us").value_or("0");
  if (atoll(runtime.c_str()) < 0 || atoll(runtime.c_str()) >= atoll(period.c_str())) return;
  throw Error(ExitCode::usage, "realtime-throttled",
              text("SCHED_FIFO may have ", atoll(runtime.c_str()), " of each ", atoll(period.c_str()), " us"),
              "as root: sysctl kernel.sched_rt_runtime_us=-1, or run without performance mode");
}

}  // namespace

PerformancePlan planPerformance(const RunOptions& options, uint64_t memoryBytes) {
  PerformancePlan plan;
  const bool off = switchedOff(options);
  if (options.performanceMode && off) {
    throw Error(ExitCode::usage, "performance-mode-conflict",
                options.noPerformanceMode ? "--performance-mode and --no-perf-mode exclude each other"
                                          : "--performance-mode, but KTSTR_NO_PERF_MODE is set",
                "choose one");
  }
  if (options.performanceMode && options.accelerator == "tcg") {
    throw Error(ExitCode::usage, "performance-mode-conflict",
                "--performance-mode needs KVM, but --accel is tcg", "choose one");
  }
  if (options.performanceMode) {
    checkThrottling();
    plan.host = planHost(options.topology, readHostCpus());
    checkHugePages(memoryBytes + hugePageBytes);  // guest/boot/machine.h may add as much
  } else if (!off) {
    plan.haltPollNanos = options.topology.vcpus() > usableCpus() ? 0 : haltPollNanos;
  }
  return plan;
}

void fitAccelerator(PerformancePlan& plan, const std::string& accelerator, const std::string& why) {
  if (accelerator == "kvm") return;
  plan.haltPollNanos.reset();
  if (!plan.host) return;
  throw Error(ExitCode::usage, "performance-mode-needs-kvm",
              text("the machine would run on ", accelerator, ": ", why), "run without --performance-mode");
}

void takeServicePlace(const HostPlan& plan) {
  errno = 0;  // what succeeds leaves it alone
  cpu_set_t wanted, got;
  CPU_ZERO(&wanted);
  for (const uint16_t cpu : plan.service) CPU_SET(cpu, &wanted);
  if (sched_setaffinity(0, sizeof wanted, &wanted) != 0 || sched_getaffinity(0, sizeof got, &got) != 0 ||
      CPU_EQUAL(&wanted, &got) == 0) {
    throw errnoError("pinning-refused", "keep the harness off the vCPUs' CPUs",
                     "let its cpuset have them, or run without performance mode");
  }
  const sched_param fifo{harnessPriority};
  sched_param read{};
  if (sched_setscheduler(0, SCHED_FIFO, &fifo) != 0 || sched_getscheduler(0) != SCHED_FIFO ||
      sched_getparam(0, &read) != 0 || read.sched_priority != harnessPriority) {
    throw errnoError("realtime-refused", text("run under SCHED_FIFO ", unsigned{harnessPriority}),
                     text("run as root or with CAP_SYS_NICE, or allow it: ulimit -r ",
                          unsigned{harnessPriority}, ", or without performance mode"));
  }
}

std::vector<NodeMemory> memoryPlacement(const PreparedRam& prepared, const HostPlan& plan) {
  std::vector<NodeMemory> placement;
  for (const NodeRam& part : prepared.nodeRam) {
    placement.push_back({part.offset, part.size, plan.nodes.at(part.node)});
  }
  return placement;
}

void writePlacement(const PerformancePlan& plan, rpc::Placement::Builder placement) {
  if (plan.haltPollNanos) placement.getHaltPoll().setNanos(*plan.haltPollNanos);
  if (!plan.host) return;
  auto cpus = placement.initCpus(static_cast<unsigned>(plan.host->vcpus.size()));
  for (unsigned i = 0; i < cpus.size(); ++i) cpus.set(i, plan.host->vcpus[i]);
  placement.setPriority(vcpuPriority);
  placement.setKeepIdle(true);
}

void writePerformance(const RunOptions& options, const PerformancePlan& plan,
                      rpc::PerformanceFacts::Builder facts) {
  using Mode = rpc::PerformanceFacts::Mode;
  facts.setMode(plan.host ? Mode::PERFORMANCE : switchedOff(options) ? Mode::OFF : Mode::ORDINARY);
  if (plan.haltPollNanos) facts.getHaltPoll().setNanos(*plan.haltPollNanos);
  if (!plan.host) return;
  const auto list = [](const auto& from, auto to) {
    for (unsigned i = 0; i < to.size(); ++i) to.set(i, from[i]);
  };
  list(plan.host->vcpus, facts.initCpus(static_cast<unsigned>(plan.host->vcpus.size())));
  list(plan.host->service, facts.initServiceCpus(static_cast<unsigned>(plan.host->service.size())));
  list(plan.host->nodes, facts.initNodes(static_cast<unsigned>(plan.host->nodes.size())));
}

}  // namespace ktstr
