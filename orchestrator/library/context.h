// What a test's body gets: runs scenarios in machines of the declared shape, and shows what they measured.
#pragma once

#include <capnp/message.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "guest/scenario/build.h"
#include "guest/scenario/catalog.h"
#include "orchestrator/library/declare.h"
#include "orchestrator/library/phases.h"
#include "orchestrator/library/series.h"
#include "protocol/record.capnp.h"

namespace ktstr {

// Which workers: those of a step, a cgroup, a work group by name; "" is any. Of the backdrop: step
// "backdrop".
struct Of {
  std::string_view step = {}, cgroup = {}, work = {};
};

// What one run measured.
class RunResult {
 public:
  // `json`: a record as `ktstr run --format jsonl` prints it; `steps`: the names of the scenario's steps, in
  // order. Throws Error "json-invalid".
  RunResult(const std::string& json, std::vector<std::string> steps);

  rpc::RunRecord::Reader record() const;  // all of it (protocol/record.capnp)
  rpc::Outcome outcome() const { return record().getVerdict().getOutcome(); }
  bool hasFinding(std::string_view name) const;
  std::string reasons() const;  // every finding with its evidence and hint
  // "crash-not-reproduced: ..." of a run whose operations writeMap wrote, and that has no failure of the
  // scheduler or the kernel; "" of any other.
  std::string notReproduced() const;

  // Sums over the workers that were chosen. Throws Error "no-such-work" if there are none, naming what there
  // is.
  uint64_t iterations(const Of& of) const;
  uint64_t cpuNs(const Of& of) const;
  uint64_t runDelayNs(const Of& of) const;
  double iterationsPerSecond(const Of& of) const;  // of wall time, all workers together
  std::vector<rpc::WorkerReport::Reader> workers(const Of& of) const;

  // From one change of the machine to the next (phases.h).
  PhaseResult phase(std::string_view name) const { return phaseOf(record(), name); }
  std::vector<PhaseResult> phases() const { return phasesOf(record()); }

  // What was seen of the scheduler's state: one that the scenario asked for by name (snapshot.h), and those
  // of TestSpec::snapshots (series.h).
  Snapshot snapshot(std::string_view name) const { return snapshotOf(record(), name); }
  SampleSeries series() const { return seriesOf(record()); }

 private:
  std::string stepOf(rpc::WorkerReport::Reader worker) const;
  uint64_t sum(const Of& of, const std::function<uint64_t(rpc::WorkerReport::Reader)>& value) const;

  std::unique_ptr<capnp::MallocMessageBuilder> message_;
  std::vector<std::string> steps_;
};

// Whether TestSpec::tries may make the run once more: it is inconclusive, and not for the very finding that
// is expected of it.
bool mayTryAgain(const TestSpec& spec, const RunResult& run);

class Context {
 public:
  // `spec` outlives this; `kernel` is one of kernelsOf(spec). Throws as checkSpec().
  Context(const TestSpec& spec, std::string kernel);
  Context(const TestSpec&& spec, std::string kernel) = delete;

  const Topology& topology() const { return shape_.topology; }
  const Shape& shape() const { return shape_; }
  const std::string& kernel() const { return kernel_; }

  // Boots a machine, runs the scenario in it, and judges: a verdict that is no pass fails the test with its
  // reasons (inconclusive ones too: missing evidence shows nothing), unless TestSpec::expectFinding asks for
  // it; a skip skips the test and does not return. Any number of times, each in a machine of its own. Custom
  // work that names no program is this one's: Error "custom-unknown" if it has no such function. Throws
  // "test-invalid" in a hostOnly test. What postVm throws it throws.
  void run(const say::Scenario& scenario);
  // A canned one (`ktstr scenario list`). Throws Error "scenario-unknown", "scenario-does-not-fit".
  void run(std::string_view canned);

  // Of the last run. Throws Error "not-run" if there was none.
  const RunResult& last() const;

 private:
  RunResult runOnce(rpc::Scenario::Reader scenario) const;
  std::string reproduce(rpc::Scenario::Builder scenario) const;
  void judge(const RunResult& run, const std::string& reproduced) const;

  const TestSpec& spec_;
  std::string kernel_;
  Shape shape_;
  std::unique_ptr<RunResult> last_;
};

// Leaves the body of a test that has been skipped.
struct Skipped {};

}  // namespace ktstr
