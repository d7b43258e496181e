#include "orchestrator/library/declare.h"

#include <cstdlib>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

std::string settingOr(const std::string& given, const char* variable, const char* otherwise) {
  if (!given.empty()) return given;
  const char* value = getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

}  // namespace

Topology topologyOf(const TestSpec& spec) {
  const bool byPart = spec.nodes || spec.llcs || spec.cores || spec.threads;
  if (!spec.topology.empty() && byPart) {
    throw Error(ExitCode::usage, "test-invalid",
                "topology \"" + spec.topology + "\" is given, and parts of one", "give either");
  }
  if (!spec.topology.empty()) return parseTopology(spec.topology);
  const Cores base = spec.scheduler.get() != nullptr ? spec.scheduler.get()->topology : Cores{};
  return parseTopology(text(spec.nodes.value_or(base.nodes), 'n', spec.llcs.value_or(base.llcs), 'l',
                            spec.cores.value_or(base.cores), 'c', spec.threads.value_or(base.threads), 't'));
}

std::vector<std::string> runWords(const TestSpec& spec, const Topology& topology) {
  if (spec.performanceMode && spec.noPerfMode) {
    throw Error(ExitCode::usage, "test-invalid", "performanceMode and noPerfMode are both set", "set one");
  }
  const Scheduler* scheduler = spec.scheduler.get();
  const bool scx = scheduler != nullptr && !scheduler->binary.empty();
  if (!scx && !spec.extraArgs.empty()) {
    throw Error(ExitCode::usage, "test-invalid", "extraArgs are given, but no scheduler that would take them",
                "name a scheduler");
  }
  std::vector<std::string> words = {"run",        "-",
                                    "--format",   "jsonl",
                                    "--topology", topology.toString(),
                                    "--kernel",   settingOr(spec.kernel, "KTSTR_TEST_KERNEL", "debian:7.3"),
                                    "--accel",    settingOr(spec.accelerator, "KTSTR_TEST_ACCEL", "auto")};
  const auto add = [&words](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
  if (spec.memoryMib != 0) add({"--memory", text(spec.memoryMib, 'M')});
  if (spec.performanceMode) add({"--performance-mode"});
  if (spec.noPerfMode) add({"--no-perf-mode"});
  if (!scx) return words;
  add({"--scheduler", scheduler->binary});
  for (const std::string& variable : scheduler->environment) add({"--env", variable});
  if (scheduler->args.empty() && spec.extraArgs.empty()) return words;
  add({"--"});
  words.insert(words.end(), scheduler->args.begin(), scheduler->args.end());
  words.insert(words.end(), spec.extraArgs.begin(), spec.extraArgs.end());
  return words;
}

}  // namespace ktstr
