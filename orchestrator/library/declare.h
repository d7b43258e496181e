// What an author declares: schedulers, and tests of them. Aggregates, to be written with designated
// initialisers; what is left out has the default given here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/scenario/build.h"
#include "guest/topology.h"

namespace ktstr {

using Assertions = say::Fill<rpc::Assertions>;

// LLCs are those of the whole machine, cores those of an LLC, threads those of a core.
struct Cores {
  uint32_t nodes = 1, llcs = 1, cores = 2, threads = 1;
};

struct Scheduler {
  std::string name = {};                      // in messages; the identifier, if empty
  std::string binary = {};                    // as `ktstr run --scheduler` takes it; empty: EEVDF
  std::vector<std::string> args = {};         // always
  std::vector<std::string> environment = {};  // NAME=value
  Cores topology = {};                        // of tests that say nothing else
  Assertions assertions = {};                 // of every test of it
};

// EEVDF unless a scheduler is named.
class SchedulerRef {
 public:
  SchedulerRef() = default;
  SchedulerRef(const Scheduler& scheduler) : scheduler_(&scheduler) {}  // NOLINT: `.scheduler = mitosis`
  const Scheduler* get() const { return scheduler_; }

 private:
  const Scheduler* scheduler_ = nullptr;
};

struct TestSpec {
  SchedulerRef scheduler = {};  // lives as long as the test: declare it with KTSTR_SCHEDULER
  // Each else the scheduler's, else that of Cores.
  std::optional<uint32_t> nodes = {}, llcs = {}, cores = {}, threads = {};
  std::string topology =
      {};                   // all at once, also node by node: "2l512M,1l256M,0l256M,2c1t" (guest/topology.h)
  std::string kernel = {};  // as `ktstr run --kernel`; empty: $KTSTR_TEST_KERNEL, else debian:7.3
  uint32_t memoryMib = 0;   // 0: as `ktstr run`
  uint32_t durationMs = 2000;               // of scenarios that do not say it themselves, and of ctx.shape()
  uint32_t workers = 2;                     // of ctx.shape(): of a cgroup about which nothing else is said
  std::vector<std::string> extraArgs = {};  // after the scheduler's
  std::string accelerator = {};             // auto, kvm, tcg; empty: $KTSTR_TEST_ACCEL, else auto
  bool performanceMode = false, noPerfMode = false;
  Assertions assertions = {};      // after the scheduler's and the scenario's
  std::string expectFinding = {};  // the run must not pass, and this finding must be among the reasons
};

// The shape of the machine. Throws Error "topology-invalid" as parseTopology().
Topology topologyOf(const TestSpec& spec);

// The words after `ktstr-orchestrator`. Throws Error "test-invalid" for what contradicts itself.
std::vector<std::string> runWords(const TestSpec& spec, const Topology& topology);

}  // namespace ktstr
