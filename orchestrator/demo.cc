#include "orchestrator/demo.h"

#include <capnp/message.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "orchestrator/findings.h"
#include "orchestrator/record_store.h"
#include "orchestrator/render.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// Beside the executables of a build tree, or where `make install` puts it.
std::string demoScenario() {
  const std::string tool = toolPath("ktstr-orchestrator");
  const std::string directory = tool.substr(0, tool.rfind('/'));
  for (const std::string& path :
       {directory + "/../share/ktstr/scenarios/demo.json", directory + "/../../tests/scenarios/demo.json",
        std::string("tests/scenarios/demo.json")}) {
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  throw Error(ExitCode::usage, "scenario-unreadable", "the demo scenario is not installed",
              "name one: ktstr demo --scenario FILE");
}

// One run; its record as JSON, or an Error with the run's exit code if it made none.
std::string runOne(const DemoOptions& options, const std::string& scheduler) {
  std::vector<std::string> words = {
      "run",         options.scenario.empty() ? demoScenario() : options.scenario,
      "--kernel",    options.kernel,
      "--topology",  options.topology,
      "--scheduler", scheduler,
      "--format",    "jsonl"};
  if (!options.duration.empty()) words.insert(words.end(), {"--duration", options.duration});
  auto [json, status] = runTool("ktstr-orchestrator", std::move(words), size_t{64} << 20);
  if (json.empty()) {
    throw Error(WIFEXITED(status) ? static_cast<ExitCode>(WEXITSTATUS(status)) : ExitCode::infrastructure,
                "run-failed", scheduler + ": no record; " + describeWaitStatus(status),
                "its own message above says why");
  }
  return json;
}

}  // namespace

int runDemo(const DemoOptions& options) {
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages;
  std::vector<rpc::RunRecord::Reader> records;
  const bool terminal = isatty(STDERR_FILENO) == 1;
  for (const std::string& scheduler : options.schedulers) {
    if (!terminal) fprintf(stderr, "ktstr demo: %s\n", scheduler.c_str());
    const std::string json = runOne(options, scheduler);
    if (options.format == OutputFormat::jsonl) writeAll(STDOUT_FILENO, json);
    messages.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    auto record = messages.back()->initRoot<rpc::RunRecord>();
    fromJson(json, record);
    records.push_back(record.asReader());
  }
  Outcome worst = Outcome::PASS;
  for (const auto& record : records) worst = worse(worst, record.getVerdict().getOutcome());
  if (options.format == OutputFormat::human) {
    writeAll(STDOUT_FILENO, renderComparison(records, isatty(STDOUT_FILENO) == 1));
  }
  return static_cast<int>(exitCodeOf(worst));
}

}  // namespace ktstr
