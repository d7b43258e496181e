#include "orchestrator/library/context.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <utility>

#include "guest/scenario/programs.h"
#include "guest/work/custom.h"
#include "orchestrator/library/crash.h"
#include "orchestrator/library/tools.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

Topology machineOf(const TestSpec& spec) {
  checkSpec(spec);
  const char* instead = getenv("KTSTR_TEST_TOPOLOGY");
  if (instead == nullptr || *instead == '\0') return spec.hostOnly ? Topology() : topologyOf(spec);
  Topology topology = parseTopology(instead);
  const auto why = brokenConstraint(spec, topology);
  if (!why) return topology;
  [&] { GTEST_SKIP() << "$KTSTR_TEST_TOPOLOGY: " << *why; }();
  throw Skipped();
}

// Custom work of this program, which is known here before a machine boots.
void fillPrograms(rpc::Scenario::Builder scenario) {
  forEachWork(scenario, [](rpc::WorkSpec::Builder work) {
    if (!work.getType().isCustom() || work.getType().getCustom().getProgram().size() > 0) return;
    auto custom = work.getType().getCustom();
    work::findCustom(custom.getName().cStr());
    custom.setProgram(std::filesystem::read_symlink("/proc/self/exe").string());
  });
}

}  // namespace

RunResult::RunResult(const std::string& json, std::vector<std::string> steps)
    : message_(std::make_unique<capnp::MallocMessageBuilder>()), steps_(std::move(steps)) {
  fromJson(json, message_->initRoot<rpc::RunRecord>());
}

rpc::RunRecord::Reader RunResult::record() const {
  return message_->getRoot<rpc::RunRecord>().asReader();
}

bool RunResult::hasFinding(std::string_view name) const {
  for (const auto finding : record().getVerdict().getFindings()) {
    if (name == finding.getName().cStr()) return true;
  }
  return false;
}

std::string RunResult::reasons() const {
  std::string all = text(kj::str(outcome()).cStr(), "; the record is in ", record().getDirectory().cStr());
  for (const auto finding : record().getVerdict().getFindings()) {
    all += text("\n", finding.getName().cStr(), ": ", finding.getMessage().cStr());
    if (finding.getHint().size() > 0) all += text("\n  ", finding.getHint().cStr());
    if (finding.getEvidence().size() > 0) all += text("\n", finding.getEvidence().cStr());
  }
  return all;
}

std::string RunResult::notReproduced() const {
  std::string written;
  for (const auto write : record().getMapWrites()) {
    if (write.getOfOperation() && write.getFailure().size() == 0)
      written += text(written.empty() ? "" : ", ", write.getAsked().cStr());
  }
  for (const auto finding : record().getVerdict().getFindings()) {
    const std::string_view name = finding.getName().cStr();
    const bool ended = name.starts_with("scheduler-") || name.starts_with("kernel-");
    if (ended && finding.getOutcome() == rpc::Outcome::FAIL) return "";
  }
  if (written.empty()) return "";
  return text("crash-not-reproduced: the host wrote ", written, ", and the scheduler went on\n");
}

std::string RunResult::stepOf(rpc::WorkerReport::Reader worker) const {
  return worker.getStep() < steps_.size() ? steps_[worker.getStep()] : "backdrop";
}

std::vector<rpc::WorkerReport::Reader> RunResult::workers(const Of& of) const {
  const auto is = [](std::string_view wanted, std::string_view there) {
    return wanted.empty() || wanted == there;
  };
  std::vector<rpc::WorkerReport::Reader> found;
  std::set<std::string> there;
  for (const auto worker : record().getWorkers()) {
    const std::string step = stepOf(worker);
    if (is(of.step, step) && is(of.cgroup, worker.getCgroup().cStr()) && is(of.work, worker.getWork().cStr()))
      found.push_back(worker);
    there.insert(text(step, '/', worker.getCgroup().cStr(), '/', worker.getWork().cStr()));
  }
  if (!found.empty()) return found;
  std::string names;
  for (const std::string& name : there) names += (names.empty() ? "" : ", ") + name;
  throw Error(ExitCode::usage, "no-such-work",
              text("no worker of step \"", of.step, "\", cgroup \"", of.cgroup, "\", work \"", of.work, '"'),
              names.empty() ? "the run has no workers" : "there are: " + names);
}

uint64_t RunResult::sum(const Of& of, const std::function<uint64_t(rpc::WorkerReport::Reader)>& value) const {
  uint64_t total = 0;
  for (const auto worker : workers(of)) total += value(worker);
  return total;
}
uint64_t RunResult::iterations(const Of& of) const {
  return sum(of, [](auto worker) { return worker.getIterations(); });
}
uint64_t RunResult::cpuNs(const Of& of) const {
  return sum(of, [](auto worker) { return worker.getCpuNs(); });
}
uint64_t RunResult::runDelayNs(const Of& of) const {
  return sum(of, [](auto worker) { return worker.getRunDelayNs(); });
}
double RunResult::iterationsPerSecond(const Of& of) const {
  double rate = 0;
  for (const auto worker : workers(of)) {
    if (worker.getWallNs() > 0)
      rate += 1e9 * static_cast<double>(worker.getIterations()) / static_cast<double>(worker.getWallNs());
  }
  return rate;
}

Context::Context(const TestSpec& spec, std::string kernel)
    : spec_(spec), kernel_(std::move(kernel)), shape_{machineOf(spec), spec.durationMs, spec.workers} {}

void Context::run(const say::Scenario& scenario) {
  if (spec_.hostOnly) {
    throw Error(ExitCode::usage, "test-invalid", "hostOnly and ctx.run(): there is no machine",
                "leave out one of them");
  }
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<rpc::Scenario>();
  root.setDurationMs(spec_.durationMs);
  root.setSnapshots(snapshotsOf(spec_));
  const Scheduler* scheduler = spec_.scheduler.get();
  if (scheduler != nullptr && scheduler->assertions) scheduler->assertions(root.initSchedulerAssertions());
  scenario.write(root);
  if (spec_.assertions) spec_.assertions(root.getAssertions());
  fillPrograms(root);
  for (uint32_t tried = 1;; tried++) {
    last_ = std::make_unique<RunResult>(runOnce(root.asReader()));
    if (tried >= spec_.tries || !mayTryAgain(spec_, *last_)) break;
    fprintf(stderr, "ktstr: try %u of %u is %s\n", tried, spec_.tries, last_->reasons().c_str());
  }
  judge(*last_, reproduce(root));
  if (spec_.postVm) spec_.postVm(*last_);
}

RunResult Context::runOnce(rpc::Scenario::Reader scenario) const {
  std::vector<std::string> steps;
  for (const auto step : scenario.getSteps()) steps.emplace_back(step.getName().cStr());
  return {ask("ktstr-orchestrator", runWords(spec_, topology(), kernel_), toJson(scenario)),
          std::move(steps)};
}

// What the failure says of a second run; "" if there is nothing to reproduce.
std::string Context::reproduce(rpc::Scenario::Builder scenario) const {
  const bool expected = spec_.expectError || !spec_.expectFinding.empty();
  if (!spec_.autoRepro || expected || crashOf(*last_).empty()) return "";
  scenario.setSnapshots(snapshotsBeforeCrash(scenario.asReader()));
  try {
    return describeCrash(*last_, runOnce(scenario.asReader()));
  } catch (const Error& error) {
    return text("\nautoRepro: it could not be run once more: ", error.what());
  }
}

void Context::run(std::string_view canned) {
  const CannedScenario* found = findCanned(canned);
  if (found == nullptr) {
    throw Error(ExitCode::usage, "scenario-unknown", text("there is no canned scenario \"", canned, '"'),
                "`ktstr scenario list` names them");
  }
  if (const auto why = whyNot(*found, topology())) {
    throw Error(ExitCode::usage, "scenario-does-not-fit", text(found->name, ' ', *why),
                "declare a larger topology");
  }
  say::Scenario scenario(found->name, found->description);
  found->fill(shape_, scenario);
  run(scenario);
}

const RunResult& Context::last() const {
  if (last_) return *last_;
  throw Error(ExitCode::usage, "not-run", "nothing has been run in this test yet");
}

bool mayTryAgain(const TestSpec& spec, const RunResult& run) {
  if (run.outcome() != rpc::Outcome::INCONCLUSIVE) return false;
  return spec.expectFinding.empty() || !run.hasFinding(spec.expectFinding);
}

void Context::judge(const RunResult& run, const std::string& reproduced) const {
  const bool passed = run.outcome() == rpc::Outcome::PASS;
  if (!spec_.expectFinding.empty()) {
    EXPECT_TRUE(!passed && run.hasFinding(spec_.expectFinding))
        << run.notReproduced() << "it was to fail with " << spec_.expectFinding << ", and is "
        << run.reasons();
    return;
  }
  if (spec_.expectError) {
    EXPECT_EQ(run.outcome(), rpc::Outcome::FAIL)
        << run.notReproduced() << "it was to fail, and is " << run.reasons();
    return;
  }
  if (run.outcome() == rpc::Outcome::SKIP) {
    [&] { GTEST_SKIP() << run.reasons(); }();
    throw Skipped();
  }
  EXPECT_TRUE(passed) << run.reasons() << reproduced;
}

}  // namespace ktstr
