#include "orchestrator/library/declare.h"

#include <cstdlib>
#include <iterator>
#include <sstream>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

[[noreturn]] void invalid(const std::string& what, const char* hint) {
  throw Error(ExitCode::usage, "test-invalid", what, hint);
}

std::string settingOr(const std::string& given, const char* variable, const char* otherwise) {
  if (!given.empty()) return given;
  const char* value = getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

const Scheduler& schedulerOf(const TestSpec& spec) {
  static const Scheduler none;
  return spec.scheduler.get() != nullptr ? *spec.scheduler.get() : none;
}

struct Bound {
  const char* name;
  std::optional<uint32_t> Constraints::*limit;
  bool isMinimum;
  uint32_t (*value)(const Topology&);
};
uint32_t nodesOf(const Topology& topology) {
  return topology.nodes;
}
uint32_t llcsOf(const Topology& topology) {
  return topology.llcs;
}
uint32_t cpusOf(const Topology& topology) {
  return topology.vcpus();
}
constexpr Bound bounds[] = {
    {"minNodes", &Constraints::minNodes, true, nodesOf}, {"maxNodes", &Constraints::maxNodes, false, nodesOf},
    {"minLlcs", &Constraints::minLlcs, true, llcsOf},    {"maxLlcs", &Constraints::maxLlcs, false, llcsOf},
    {"minCpus", &Constraints::minCpus, true, cpusOf},    {"maxCpus", &Constraints::maxCpus, false, cpusOf}};

Constraints constraintsOf(const TestSpec& spec) {
  Constraints merged = schedulerOf(spec).constraints;
  for (const Bound& bound : bounds) {
    if (spec.constraints.*bound.limit) merged.*bound.limit = spec.constraints.*bound.limit;
  }
  if (spec.constraints.requiresSmt) merged.requiresSmt = spec.constraints.requiresSmt;
  return merged;
}

void checkConstraints(const Constraints& constraints) {
  for (size_t i = 0; i < std::size(bounds); i += 2) {
    const auto least = constraints.*bounds[i].limit, most = constraints.*bounds[i + 1].limit;
    if (least && most && *least > *most) {
      invalid(text(bounds[i].name, " is ", *least, ", but ", bounds[i + 1].name, " is ", *most),
              "no machine is both");
    }
    if (most && *most == 0) invalid(text(bounds[i + 1].name, " is 0"), "no machine is that small");
  }
}

// What takes two fields to say is said by one of them.
void checkPairs(const TestSpec& spec) {
  const Scheduler& scheduler = schedulerOf(spec);
  const bool loads = !scheduler.binary.empty();
  const bool enables = !scheduler.switches.enable.empty(), disables = !scheduler.switches.disable.empty();
  if (spec.performanceMode && spec.noPerfMode)
    invalid("performanceMode and noPerfMode are both set", "set one");
  if (enables && loads)
    invalid("a binary and switches of a scheduler in the kernel are both given", "give one");
  if (enables != disables) {
    invalid(text("switches.", enables ? "enable" : "disable", " is given, but not the other"), "give both");
  }
  if (!spec.expectFinding.empty() && spec.expectError) {
    invalid("expectFinding and expectError are both set: the finding is the error", "set one");
  }
  if (spec.tries == 0) invalid("tries is 0, which runs nothing", "1 runs it once");
  if (loads) return;
  if (!spec.extraArgs.empty())
    invalid("extraArgs are given, but no scheduler that would take them", "name one");
  if (!spec.bpfMapWrites.empty() || !scheduler.bpfMapWrites.empty())
    invalid("bpfMapWrites are given, but no scheduler whose maps could be written", "name a binary");
  if (spec.watchdogTimeoutMs != 0 || scheduler.watchdogTimeoutMs != 0)
    invalid("watchdogTimeoutMs is given, but no scheduler that would be watched", "name a binary");
  if (!scheduler.args.empty()) invalid("args are given, but no binary that would take them", "name one");
  if (!scheduler.configFile.empty())
    invalid("configFile is given, but no binary that would read it", "name one");
  if (spec.scheduler.config())
    invalid("a configuration is given, but no binary that would read it", "name one");
}

void checkHostOnly(const TestSpec& spec) {
  const auto refuse = [](const char* other) {
    invalid(text("hostOnly and ", other, " are both given: there is no machine"), "leave out one of them");
  };
  if (spec.scheduler.get() != nullptr) refuse("scheduler");
  if (!spec.kernels.empty()) refuse("kernels");
  if (!spec.topology.empty() || spec.nodes || spec.llcs || spec.cores || spec.threads) refuse("a topology");
  if (!spec.expectFinding.empty() || spec.expectError) refuse("an expected failure");
  if (spec.postVm) refuse("postVm");
  if (spec.performanceMode) refuse("performanceMode");
  if (spec.snapshots.value_or(0) != 0) refuse("snapshots");
}

void checkConfig(const Config& config) {
  if (config.arguments.find("{file}") == std::string::npos) {
    invalid(text("the configuration's arguments \"", config.arguments, "\" do not name {file}"),
            "as in \"--config {file}\"");
  }
  if (!config.path.starts_with('/')) {
    invalid(text("the configuration's path \"", config.path, "\" is not absolute"), "as in /etc/layers.json");
  }
  if (config.content.empty()) invalid("the configuration is empty", "give what the scheduler is to read");
}

Words configArguments(const Config& config) {
  Words words;
  std::istringstream from(config.arguments);
  for (std::string word; from >> word; words.push_back(word)) {
    const size_t at = word.find("{file}");
    if (at != std::string::npos) word.replace(at, 6, config.path);
  }
  return words;
}

void append(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

void addEach(Words& words, const char* option, const Words& values) {
  for (const std::string& value : values) append(words, {option, value});
}

void addGuest(const TestSpec& spec, Words& words) {
  const Scheduler& scheduler = schedulerOf(spec);
  const auto both = [&](const char* option, Words Scheduler::*first, Words TestSpec::*second) {
    addEach(words, option, scheduler.*first);
    addEach(words, option, spec.*second);
  };
  both("--sysctl", &Scheduler::sysctls, &TestSpec::sysctls);
  both("--kernel-arg", &Scheduler::kernelArgs, &TestSpec::kernelArgs);
  both("--map-write", &Scheduler::bpfMapWrites, &TestSpec::bpfMapWrites);
  both("--include", &Scheduler::includeFiles, &TestSpec::includeFiles);
  for (const std::string& binary : spec.binaries) {
    append(words, {"--include", text(binary, ":/ktstr/bin/", binary.substr(binary.rfind('/') + 1))});
  }
  addEach(words, "--enable", scheduler.switches.enable);
  addEach(words, "--disable", scheduler.switches.disable);
  if (!scheduler.cgroupParent.empty()) append(words, {"--cgroup-parent", scheduler.cgroupParent});
  const uint32_t watchdogMs =
      spec.watchdogTimeoutMs != 0 ? spec.watchdogTimeoutMs : scheduler.watchdogTimeoutMs;
  if (watchdogMs != 0) append(words, {"--watchdog-timeout", text(watchdogMs, "ms")});
  if (spec.cleanupBudgetMs != 0) append(words, {"--cleanup-budget", text(spec.cleanupBudgetMs, "ms")});
}

void addScheduler(const TestSpec& spec, Words& words) {
  const Scheduler& scheduler = schedulerOf(spec);
  append(words, {"--scheduler", scheduler.binary});
  addEach(words, "--env", scheduler.environment);
  if (!scheduler.configFile.empty()) append(words, {"--scheduler-config", scheduler.configFile});
  Words args;
  if (const auto& config = spec.scheduler.config()) {
    append(words, {"--file", config->path + "=" + config->content});
    append(args, configArguments(*config));
  }
  append(args, scheduler.args);
  append(args, spec.extraArgs);
  if (args.empty()) return;
  words.emplace_back("--");
  append(words, args);
}

}  // namespace

std::optional<std::string> brokenConstraint(const TestSpec& spec, const Topology& topology) {
  const Constraints constraints = constraintsOf(spec);
  for (const Bound& bound : bounds) {
    const auto limit = constraints.*bound.limit;
    const uint32_t value = bound.value(topology);
    if (limit && (bound.isMinimum ? value < *limit : value > *limit))
      return text(bound.name, " is ", *limit, ", but ", topology.toString(), " has ", value);
  }
  if (constraints.requiresSmt.value_or(false) && topology.threadsPerCore < 2)
    return text("requiresSmt is set, but ", topology.toString(), " has one thread per core");
  return std::nullopt;
}

Topology topologyOf(const TestSpec& spec) {
  const bool byPart = spec.nodes || spec.llcs || spec.cores || spec.threads;
  if (!spec.topology.empty() && byPart) {
    invalid("topology \"" + spec.topology + "\" is given, and parts of one", "give either");
  }
  const Cores base = schedulerOf(spec).topology;
  Topology topology = parseTopology(
      !spec.topology.empty()
          ? spec.topology
          : text(spec.nodes.value_or(base.nodes), 'n', spec.llcs.value_or(base.llcs), 'l',
                 spec.cores.value_or(base.cores), 'c', spec.threads.value_or(base.threads), 't'));
  if (const auto why = brokenConstraint(spec, topology))
    invalid(*why, "change the topology or the constraint");
  return topology;
}

uint32_t snapshotsOf(const TestSpec& spec) {
  return spec.snapshots.value_or(schedulerOf(spec).snapshots);
}

Words declaredKernels(const TestSpec& spec) {
  return spec.kernels.empty() ? schedulerOf(spec).kernels : spec.kernels;
}

Words kernelsOf(const TestSpec& spec) {
  Words kernels = declaredKernels(spec);
  if (kernels.empty()) kernels.push_back(settingOr("", "KTSTR_TEST_KERNEL", "debian:7.3"));
  return kernels;
}

void checkSpec(const TestSpec& spec) {
  if (spec.hostOnly) return checkHostOnly(spec);
  checkPairs(spec);
  checkConstraints(constraintsOf(spec));
  if (const auto& config = spec.scheduler.config()) checkConfig(*config);
  if (spec.durationMs == 0) invalid("durationMs is 0", "give at least 1");
  if (spec.workers == 0) invalid("workers is 0: nothing could fail", "give at least 1");
  topologyOf(spec);
}

Words runWords(const TestSpec& spec, const Topology& topology, const std::string& kernel) {
  checkSpec(spec);
  Words words = {"run",        "-",
                 "--format",   "jsonl",
                 "--topology", topology.toString(),
                 "--kernel",   kernel,
                 "--accel",    settingOr(spec.accelerator, "KTSTR_TEST_ACCEL", "auto")};
  if (spec.memoryMib != 0) append(words, {"--memory", text(spec.memoryMib, 'M')});
  if (spec.performanceMode) append(words, {"--performance-mode"});
  if (spec.noPerfMode) append(words, {"--no-perf-mode"});
  addGuest(spec, words);
  if (!schedulerOf(spec).binary.empty()) addScheduler(spec, words);
  return words;
}

}  // namespace ktstr
