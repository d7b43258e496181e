// What an author declares: schedulers, and tests of them. Aggregates, to be written with designated
// initialisers; what is left out has the default given here. Of a field that both have, the rule beside the
// test's says how they go together.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "guest/scenario/build.h"
#include "guest/topology.h"

namespace ktstr {

using Assertions = say::Fill<rpc::Assertions>;
using Words = std::vector<std::string>;
class RunResult;

// LLCs are those of the whole machine, cores those of an LLC, threads those of a core.
struct Cores {
  uint32_t nodes = 1, llcs = 1, cores = 2, threads = 1;
};

// Which machines a test means something on, both ends included; what is not given does not matter. The
// declared topology must keep them. One that $KTSTR_TEST_TOPOLOGY puts in its place may break them: the test
// is skipped.
struct Constraints {
  std::optional<uint32_t> minNodes = {}, maxNodes = {}, minLlcs = {}, maxLlcs = {}, minCpus = {},
                          maxCpus = {};
  std::optional<bool> requiresSmt = {};  // two threads or more in a core
};

// A scheduler inside the kernel: files of the guest that switch it on before the scenario and off after it,
// each PATH=VALUE.
struct KernelSwitches {
  Words enable = {}, disable = {};
};

struct Scheduler {
  std::string name = {};         // in messages; the identifier, if empty
  std::string binary = {};       // as `ktstr run --scheduler` takes it; empty: EEVDF
  KernelSwitches switches = {};  // instead of a binary; both lists or none
  Cores topology = {};           // of tests that say nothing else: {1, 2, 4, 1}
  Words args = {};               // always
  Words environment = {};        // NAME=value
  // Of the host: packed to /include-files/NAME, and --config with that before args.
  std::string configFile = {};
  std::string cgroupParent =
      {};                   // "/a": the scenario's cgroups go below it; made before the scheduler starts
  Words sysctls = {};       // NAME=VALUE, read back after they were written
  Words kernelArgs = {};    // of the kernel command line; not those that the harness needs itself
  Words includeFiles = {};  // FILE[:GUESTPATH] as `ktstr run --include`
  Words bpfMapWrites = {};  // as `ktstr run --map-write`: MAP:PLACE=VALUE, once it is enabled
  uint32_t watchdogTimeoutMs = 0;  // as `ktstr run --watchdog-timeout`; 0: its own
  Words kernels = {};              // of tests that name none
  uint32_t snapshots = 0;          // of tests that say nothing else
  Assertions assertions = {};      // of every test of it
  Constraints constraints = {};
};

// One that reads a configuration which each test gives: `content` is written to `path` in the guest before it
// starts, and `arguments`, in which {file} stands for the path, go before its other arguments. A test without
// a configuration, and one with it for another scheduler, do not compile.
struct ConfiguredScheduler;

// A configuration of one test.
struct Config {
  std::string arguments, path, content;
};

// EEVDF unless a scheduler is named.
class SchedulerRef {
 public:
  SchedulerRef() = default;
  SchedulerRef(const Scheduler& scheduler) : scheduler_(&scheduler) {}  // NOLINT: `.scheduler = mitosis`
  SchedulerRef(const Scheduler&&) = delete;           // which would be gone when the test runs
  SchedulerRef(const ConfiguredScheduler&) = delete;  // `.scheduler = layered.with(CONFIG)`
  SchedulerRef(const Scheduler& scheduler, Config config)
      : scheduler_(&scheduler), config_(std::move(config)) {}

  const Scheduler* get() const { return scheduler_; }
  const std::optional<Config>& config() const { return config_; }

 private:
  const Scheduler* scheduler_ = nullptr;
  std::optional<Config> config_;
};

struct ConfiguredScheduler {
  Scheduler scheduler;
  std::string arguments;  // "--config {file}"
  std::string path;       // "/etc/layers.json"

  SchedulerRef with(std::string content) const& { return {scheduler, {arguments, path, std::move(content)}}; }
  SchedulerRef with(std::string content) const&& = delete;
};

struct TestSpec {
  SchedulerRef scheduler = {};  // lives as long as the test: declare it with KTSTR_SCHEDULER
  // Each else the scheduler's, else that of Cores. $KTSTR_TEST_TOPOLOGY replaces them all.
  std::optional<uint32_t> nodes = {}, llcs = {}, cores = {}, threads = {};
  // All at once, also node by node: "2l512M,1l256M,0l256M,2c1t" (guest/topology.h).
  std::string topology = {};
  Constraints constraints = {};  // each else the scheduler's
  // As `ktstr run --kernel`, ranges ("debian:6.16..7.0") too; none: the scheduler's, else $KTSTR_TEST_KERNEL,
  // else debian:7.3. Of several, and of those of a range, each is a test of its own, NAME/debian_7_3.
  Words kernels = {};
  uint32_t memoryMib = 0;      // 0: as `ktstr run`
  uint32_t durationMs = 2000;  // of scenarios that do not say it themselves, and of ctx.shape()
  uint32_t workers = 2;        // of ctx.shape(): of a cgroup about which nothing else is said
  Words extraArgs = {};        // after the scheduler's
  Words sysctls = {};          // after the scheduler's: of two for one name the test's counts
  Words kernelArgs = {};       // after the scheduler's
  Words bpfMapWrites = {};     // after the scheduler's: of two for one place the test's counts
  Words includeFiles = {};     // with the scheduler's; two files for one place are an error
  Words binaries = {};  // programs besides the payloads of the scenario, to /ktstr/bin, which is in PATH
  std::string accelerator = {};  // auto, kvm, tcg; empty: $KTSTR_TEST_ACCEL, else auto
  bool performanceMode = false, noPerfMode = false;
  uint32_t watchdogTimeoutMs = 0;  // else the scheduler's
  // Taken of the scheduler's state while it runs, evenly in the middle 80 %
  // (guest/scenario/snapshot_times.h): 0 to 64, at least 100 ms apart; RunResult::series(). Unset: the
  // scheduler's, else none.
  std::optional<uint32_t> snapshots = {};
  uint32_t cleanupBudgetMs = 0;  // how long the machine may take to end; 0: as long as it takes
  // How often a run is made at most: again while it is inconclusive (the host was starved, the emulator broke
  // the machine), never after it failed. Each try keeps its record; the last one counts.
  uint32_t tries = 2;
  // Where the scheduler was ended while the scenario ran (scheduler-exited, scheduler-stalled), and that is
  // not what the test expects, the run is made once more with snapshots on the way there, and the failure
  // says what both found (crash.h). The first one counts.
  bool autoRepro = true;
  Assertions assertions = {};      // after the scheduler's and the scenario's
  bool expectError = false;        // the run must fail, for whatever reason
  std::string expectFinding = {};  // the run must not pass, and this finding must be among the reasons
  // After each run, when its machine is gone: what it throws or EXPECTs fails the test.
  std::function<void(const RunResult&)> postVm = {};
  bool hostOnly = false;  // the body alone: no machine, no kernel, nothing of the above that would need one
};

// The shape of the machine as declared. Throws Error "topology-invalid" as parseTopology(), and
// "test-invalid" if it breaks the constraints.
Topology topologyOf(const TestSpec& spec);

// What a topology breaks of the test's constraints: "maxLlcs 4, but 1n8l2c1t has 8"; nothing: none.
std::optional<std::string> brokenConstraint(const TestSpec& spec, const Topology& topology);

uint32_t snapshotsOf(const TestSpec& spec);

// The test's, else the scheduler's: none or more. Ranges are not resolved.
Words declaredKernels(const TestSpec& spec);
// With the default: one or more.
Words kernelsOf(const TestSpec& spec);

// Throws Error "test-invalid" for what contradicts itself, naming both sides.
void checkSpec(const TestSpec& spec);

// The words after `ktstr-orchestrator`. Throws as checkSpec().
Words runWords(const TestSpec& spec, const Topology& topology, const std::string& kernel);

}  // namespace ktstr
