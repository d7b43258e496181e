#include "orchestrator/library/context.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <utility>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

std::string orchestrate(const std::vector<std::string>& words, const std::string& scenario) {
  const Fd input = makeMemfd("scenario", 0), output = makeMemfd("record", 0), errors = makeMemfd("errors", 0);
  writeAll(input.get(), scenario);
  lseek(input.get(), 0, SEEK_SET);
  SpawnOptions options;
  const auto installed = findProgram("ktstr-orchestrator");
  options.executable =
      getenv("KTSTR_BIN_DIR") == nullptr && installed ? *installed : toolPath("ktstr-orchestrator");
  options.arguments = words;
  options.standardInput = input.get();
  options.standardOutput = output.get();
  options.standardError = errors.get();
  const int status = spawn(options).wait();
  std::string record = readAll(output.get(), size_t{256} << 20);
  if (!record.empty()) return record;
  throw Error(
      ExitCode::infrastructure, "run-failed",
      text("ktstr-orchestrator ended with ", describeWaitStatus(status), ": ", readAll(errors.get())));
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

Context::Context(const TestSpec& spec)
    : spec_(spec), shape_{topologyOf(spec), spec.durationMs, spec.workers} {}

void Context::run(const say::Scenario& scenario) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<rpc::Scenario>();
  root.setDurationMs(spec_.durationMs);
  const Scheduler* scheduler = spec_.scheduler.get();
  if (scheduler != nullptr && scheduler->assertions) scheduler->assertions(root.initSchedulerAssertions());
  scenario.write(root);
  if (spec_.assertions) spec_.assertions(root.getAssertions());
  std::vector<std::string> steps;
  for (const auto step : root.asReader().getSteps()) steps.emplace_back(step.getName().cStr());
  last_ = std::make_unique<RunResult>(orchestrate(runWords(spec_, topology()), toJson(root.asReader())),
                                      std::move(steps));
  judge(*last_);
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

void Context::judge(const RunResult& run) const {
  if (!spec_.expectFinding.empty()) {
    EXPECT_NE(run.outcome(), rpc::Outcome::PASS) << "it was to fail with " << spec_.expectFinding;
    EXPECT_TRUE(run.hasFinding(spec_.expectFinding))
        << "it was to fail with " << spec_.expectFinding << ", and is " << run.reasons();
    return;
  }
  if (run.outcome() == rpc::Outcome::SKIP) {
    [&] { GTEST_SKIP() << run.reasons(); }();
    throw Skipped();
  }
  EXPECT_EQ(run.outcome(), rpc::Outcome::PASS) << run.reasons();
}

}  // namespace ktstr
