// ktstr-orchestrator: runs scenarios and keeps their records. The front end's `run`, `demo`, `scenario`,
// `work-type`, `assertion`, `record`, `snapshot` and `probe` become this.
#include <capnp/serialize.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "orchestrator/assertion_list.h"
#include "orchestrator/demo.h"
#include "orchestrator/guest_options.h"
#include "orchestrator/kernel_runs.h"
#include "orchestrator/kvm_probe.h"
#include "orchestrator/record_store.h"
#include "orchestrator/render.h"
#include "orchestrator/render_timeline.h"
#include "orchestrator/resolve.h"
#include "orchestrator/run.h"
#include "orchestrator/scenario_list.h"
#include "orchestrator/snapshot_command.h"
#include "orchestrator/work_type_list.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

const std::map<std::string, OutputFormat> formats = {
    {"human", OutputFormat::human}, {"jsonl", OutputFormat::jsonl}, {"capnp", OutputFormat::capnp}};

CLI::CheckedTransformer formatNames() {
  CLI::CheckedTransformer names(formats);
  names.description("{human,jsonl,capnp}");
  return names;
}

// Until a run has a machine, a signal simply ends it: there is nothing to judge yet.
void endBySignal(int number) {
  const char message[] = "\nktstr: interrupted before the machine ran; nothing was stored\n";
  [[maybe_unused]] const auto ignored = write(STDERR_FILENO, message, sizeof message - 1);
  (void)number;
  _exit(static_cast<int>(ExitCode::infrastructure));
}

void print(rpc::RunRecord::Reader record, OutputFormat format, bool colour, capnp::MessageBuilder& message) {
  switch (format) {
    case OutputFormat::human:
      return writeAll(STDOUT_FILENO, renderRecord(record, colour));
    case OutputFormat::jsonl:
      return writeAll(STDOUT_FILENO, toJson(record) + "\n");
    case OutputFormat::capnp:
      return capnp::writeMessageToFd(STDOUT_FILENO, message);
  }
}

int run(const RunOptions& options) {
  const bool colour = isatty(STDOUT_FILENO) == 1;  // asked now: the run ends in a sandbox without ioctl
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  runOnce(options, record);
  print(record.asReader(), options.format, colour, message);
  return record.getVerdict().getExitCode();
}

// On the kernel, or on each of those that --kernel names, by the words of the command line.
int runOnAll(RunOptions& options, const std::vector<std::string>& named,
             const std::vector<std::string>& words) {
  const auto kernels = expandKernels(named);
  options.kernel = kernels.front();
  if (kernels.size() == 1) return run(options);
  if (!options.vmm.empty()) {
    throw Error(ExitCode::usage, "kernels-invalid",
                text("--kernel names ", kernels.size(), " kernels, but the VMM of --vmm boots one"),
                "name one");
  }
  return runOnEach(kernels, words, options.scenario == "-" ? readAll(STDIN_FILENO, scenarioLimit) : "");
}

int showScenario(const RunOptions& options) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  loadScenario(options, scenario);
  writeAll(STDOUT_FILENO, toJson(scenario.asReader(), {.pretty = true}) + "\n");
  return 0;
}

int listRecords() {
  for (const std::string& id : RecordStore::open().list()) puts(id.c_str());
  return 0;
}

int showRecord(const std::string& name, OutputFormat format, bool timeline) {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  loadRecord(RecordStore::open().find(name), record);
  if (timeline) {
    writeAll(STDOUT_FILENO, renderTimeline(record, TimelineView::whole, isatty(STDOUT_FILENO) == 1));
    return 0;
  }
  print(record.asReader(), format, isatty(STDOUT_FILENO) == 1, message);
  return 0;
}

int probe() {
  const KvmVerdict verdict = probeKvm();
  writeAll(STDOUT_FILENO, verdict.json() + "\n");
  return static_cast<int>(verdict.kind == KvmKind::hardware ? ExitCode::pass : ExitCode::skipped);
}

// The words after "--" are the scheduler's; CLI11 sees only those before.
std::vector<std::string> takeSchedulerArgs(int& argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    if (std::string_view(argv[i]) != "--") continue;
    std::vector<std::string> rest(argv + i + 1, argv + argc);
    argc = i;
    return rest;
  }
  return {};
}

// Nodes that are declared one by one have their memory already.
uint32_t checkedMemory(const std::string& memory, const Topology& topology) {
  const uint32_t mib = parseMemory(memory);
  if (mib != topology.memoryMib().value_or(mib)) {
    throw Error(ExitCode::usage, "memory-invalid",
                text("--memory ", memory, ", but the nodes of --topology ", topology.toString(), " have ",
                     *topology.memoryMib(), " MiB in all"),
                "leave out --memory, or change the nodes");
  }
  return mib;
}

// Options that are read when all are there.
struct Words {
  std::string topology = "1n1l2c1t", memory, duration, bootTimeout, attachTimeout, cleanupBudget, watchdog,
              samplePeriod;
  std::vector<std::string> kernels = {RunOptions().kernel};

  void read(RunOptions& options) const {
    options.topology = parseTopology(topology);
    if (!memory.empty()) options.memoryMib = checkedMemory(memory, options.topology);
    if (!duration.empty()) options.durationMs = parseDuration(duration);
    if (!bootTimeout.empty()) options.bootTimeoutMs = parseDuration(bootTimeout);
    if (!attachTimeout.empty()) options.attachTimeoutMs = parseDuration(attachTimeout);
    if (!cleanupBudget.empty()) options.cleanupBudgetMs = parseDuration(cleanupBudget);
    if (!samplePeriod.empty()) options.samplePeriodMs = parseDuration(samplePeriod);
    if (!watchdog.empty()) options.guest.watchdogMs = parseDuration(watchdog);
  }
};

void addRun(CLI::App& app, RunOptions& options, Words& words) {
  app.add_option("scenario", options.scenario,
                 "scenario file (JSON), - for standard input, or the name of a canned one")
      ->required();
  app.add_option(
         "--kernel", words.kernels,
         "debian:VERSION[:FLAVOUR], or a path to a vmlinuz or vmlinux; debian:FIRST..LAST[:FLAVOUR] for "
         "each series between (repeatable; each kernel is a run of its own)")
      ->allow_extra_args(false)
      ->capture_default_str();
  app.add_option("--topology", words.topology,
                 "NnNlNcNt: NUMA nodes, LLCs in all, cores per LLC, threads per core; or node by node "
                 "LlMM,...,CcTt: LLCs (0: memory only) and MiB of each, cores per LLC, threads per core; "
                 "then distances ,A-B:D of nodes where they are not 20")
      ->capture_default_str();
  app.add_option("--scheduler", options.scheduler,
                 "sched_ext scheduler: a path or a name; its arguments after --");
  app.add_option("--env", options.schedulerEnv, "NAME=value for the scheduler (repeatable)");
  app.add_option("--memory", words.memory, "guest RAM, as 512M or 2G (default: 512M, more above 8 vCPUs)");
  app.add_option("--accel", options.accelerator, "accelerator")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  auto* vmm = app.add_option(
      "--vmm", options.vmm,
      "directory of the sockets of a VMM that stands by (ktstr serve), instead of a VMM of our own");
  app.add_option("--samples", options.samples,
                 "records of a monitor that somebody else runs on that VMM (ktstr-monitor --format capnp): a "
                 "path, or - "
                 "for standard input")
      ->needs(vmm);
  app.add_option("--duration", words.duration, "override the scenario's duration, as 2s or 1500ms");
  app.add_option("--sample-period", words.samplePeriod,
                 "time between the monitor's samples, from 1ms (default: 100ms); with --samples, that of who "
                 "runs the monitor");
  app.add_option("--snapshots", options.snapshots,
                 "how many snapshots of the scheduler's state to take while the scenario runs, evenly in its "
                 "middle 80 %, at least 100 ms apart (0 to 64)");
  app.add_option("--format", options.format, "human, jsonl or capnp")->transform(formatNames());
  app.add_flag(
      "--beside-eevdf", options.besideEevdf,
      "run the scenario a second time in the same machine, without the scheduler, and show both figures");
  app.add_flag("--keep", options.keep,
               "keep the guest's RAM in the run's directory (ktstr monitor --ram reads it)");
  app.add_flag("--through-bzimage", options.throughBzImage,
               "boot through the kernel's own decompressor: full KASLR");
  app.add_option("--boot-timeout", words.bootTimeout,
                 "how long the kernel may take until init is ready, late CPUs included (default: 60s)");
  app.add_option("--attach-timeout", words.attachTimeout,
                 "how long the scheduler may take to attach (default: 30s)");
  app.add_flag("--performance-mode", options.performanceMode,
               "pinned real-time vCPUs, huge pages on their NUMA nodes, no exits when idle (KVM alone)");
  app.add_flag("--no-perf-mode", options.noPerformanceMode,
               "touch nothing of the host, not even halt polling; also KTSTR_NO_PERF_MODE=1");
  app.add_option("--append", options.commandLine, "added to the kernel command line");
  app.footer(
      "examples:\n"
      "  ktstr run tests/scenarios/demo.json --topology 1n2l2c2t\n"
      "  ktstr run tests/scenarios/demo.json --topology 1n2l2c2t --scheduler scx_simple -- -v\n"
      "  ktstr run tests/scenarios/demo.json --topology 1n2l2c2t --scheduler scx_simple --beside-eevdf\n"
      "  ktstr run tests/scenarios/basic.json --topology 2l512M,1l256M,0l256M,2c1t,0-2:32\n"
      "  ktstr run - --kernel ./vmlinux --format jsonl < scenario.json | jq .verdict\n"
      "  ktstr run steady --kernel debian:6.16..7.0 --kernel debian:7.3 --scheduler scx_simple\n"
      "  ktstr-monitor --vm $DIR/observe.sock --format capnp | ktstr run demo.json --vmm $DIR --samples -\n"
      "exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, 4 infrastructure, 5 skipped");
}

void addGuest(CLI::App& app, RunOptions& options, Words& words) {
  const auto add = [&](const char* name, std::vector<std::string>& values, const char* help) {
    app.add_option(name, values, help)->allow_extra_args(false);
  };
  GuestOptions& guest = options.guest;
  add("--sysctl", guest.sysctls, "NAME=VALUE before the scheduler starts, read back (repeatable)");
  add("--kernel-arg", guest.kernelArguments, "a word of the kernel command line (repeatable)");
  add("--include", guest.includes,
      "FILE[:GUESTPATH] packed with its libraries, to /include-files/NAME; a name is looked up here and in "
      "PATH, a directory taken whole (repeatable)");
  add("--file", guest.files, "GUESTPATH=CONTENT, made before the scheduler starts (repeatable)");
  add("--enable", guest.enable, "PATH=VALUE that switches on a scheduler inside the kernel (repeatable)");
  add("--disable", guest.disable, "PATH=VALUE that switches it off at the end (repeatable)");
  app.add_option("--scheduler-config", options.schedulerConfig,
                 "a file for the scheduler: packed, and --config with its place before the arguments");
  app.add_option("--cgroup-parent", guest.cgroupParent,
                 "/PATH below which the scenario's cgroups are made (default: /ktstr)");
  add("--map-write", guest.mapWrites,
      "MAP:PLACE=VALUE, a number written into a BPF map when the scheduler is enabled, before the scenario "
      "begins: MAP a name, the end of one (.bss) or #ID, PLACE a path in its value or "
      "+OFFSET for four bytes, VALUE a number, 0x hex, true, false or an enumerator; all or none "
      "(repeatable)");
  app.add_option(
      "--watchdog-timeout", words.watchdog,
      "how long a runnable task may wait until the kernel ends the scheduler, as 5s; a shorter one than the "
      "scheduler's own holds once half of that has passed");
  app.add_option("--cleanup-budget", words.cleanupBudget, "how long the machine may take to end, as 500ms");
}

void addSnapshot(CLI::App& app, SnapshotOptions& options) {
  auto* run = app.add_option("run", options.run,
                             "id of the run that is being made, or how it begins (default: the only one)");
  app.add_option("--vm", options.vm, "observe socket of a machine, instead of a run")->excludes(run);
  app.add_option("--name", options.name, "what to call it: A-Z a-z 0-9 _ . -")->capture_default_str();
  app.add_option("--format", options.asLine, "human or jsonl")
      ->transform(CLI::CheckedTransformer(std::map<std::string, bool>{{"human", false}, {"jsonl", true}})
                      .description("{human,jsonl}"));
  app.footer(
      "The dump of a run is kept with the run.\n"
      "examples:\n"
      "  ktstr snapshot                            of the run that is being made in another shell\n"
      "  ktstr snapshot --vm $DIR/observe.sock\n"
      "  ktstr record show latest --snapshot demand");
}

void addDemo(CLI::App& app, DemoOptions& demo) {
  app.add_option("--scenario", demo.scenario, "scenario file (default: the shipped demo)");
  app.add_option("--kernel", demo.kernel, "one, as of run")->capture_default_str();
  app.add_option("--topology", demo.topology, "as of run")->capture_default_str();
  app.add_option("--duration", demo.duration, "as of run");
  app.add_option("--scheduler", demo.schedulers, "schedulers to compare (repeatable)")->capture_default_str();
  app.add_option("--format", demo.format, "human or jsonl")->transform(formatNames());
}

void addScenarioList(CLI::App& app, std::string& topology, ScenarioListFormat& format) {
  app.add_option("--topology", topology, "say which fit it");
  app.add_option("--format", format, "human, jsonl or names")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, ScenarioListFormat>{{"human", ScenarioListFormat::human},
                                                                {"jsonl", ScenarioListFormat::jsonl},
                                                                {"names", ScenarioListFormat::names}})
                      .description("{human,jsonl,names}"));
}

int dispatch(int argc, char** argv) {
  RunOptions options;
  const std::vector<std::string> all(argv + 1, argv + argc);
  options.schedulerArgs = takeSchedulerArgs(argc, argv);
  DemoOptions demo;
  Words words;
  std::string recordName = "latest";
  OutputFormat recordFormat = OutputFormat::human;

  CLI::App app("ktstr-orchestrator runs scenarios on real kernels and keeps the records", "ktstr");
  app.require_subcommand(1);
  auto* runCommand = app.add_subcommand("run", "run one scenario on one kernel, topology and scheduler");
  addRun(*runCommand, options, words);
  addGuest(*runCommand, options, words);
  auto* demoCommand =
      app.add_subcommand("demo", "one scenario under EEVDF and sched_ext schedulers, side by side");
  addDemo(*demoCommand, demo);
  auto* scenarioCommand = app.add_subcommand("scenario", "what can be run");
  scenarioCommand->require_subcommand(1);
  scenarioCommand->footer(
      "EXAMPLES\n"
      "  ktstr scenario list --topology 1n2l2c1t            the canned ones, and which fit\n"
      "  ktstr scenario show cpuset_resize --topology 1n1l4c1t > mine.json\n"
      "  ktstr scenario show mine.json --topology 1n1l8c1t  check it against a topology, print it back");
  auto* scenarioListCommand = scenarioCommand->add_subcommand("list", "the canned scenarios");
  std::string listTopology;
  ScenarioListFormat listFormat = ScenarioListFormat::human;
  addScenarioList(*scenarioListCommand, listTopology, listFormat);
  auto* scenarioShowCommand =
      scenarioCommand->add_subcommand("show", "check one against a topology and print it as JSON");
  scenarioShowCommand->add_option("scenario", options.scenario, "a canned one, a file, or -")->required();
  scenarioShowCommand->add_option("--topology", words.topology, "as of run")->capture_default_str();
  scenarioShowCommand->add_option("--duration", words.duration, "as of run");
  auto* recordCommand = app.add_subcommand("record", "records of earlier runs");
  recordCommand->require_subcommand(1);
  auto* listCommand = recordCommand->add_subcommand("list", "ids, newest first");
  auto* showCommand =
      recordCommand->add_subcommand("show", "one record: by id, unique prefix, path, or latest");
  showCommand->add_option("record", recordName, "which")->capture_default_str();
  auto* showFormat =
      showCommand->add_option("--format", recordFormat, "human, jsonl or capnp")->transform(formatNames());
  bool showTimeline = false;
  std::string snapshotName;
  showCommand->add_option("--snapshot", snapshotName,
                          "the dump of this name instead; --format human or jsonl");
  showCommand->add_flag("--timeline", showTimeline, "its whole timeline instead")->excludes(showFormat);
  const std::map<std::string, bool> listFormats = {{"human", false}, {"jsonl", true}};
  bool asLines = false;
  const auto addList = [&](const char* name, const char* about, const char* aboutList) {
    auto* command = app.add_subcommand(name, about);
    command->require_subcommand(1);
    auto* list = command->add_subcommand("list", aboutList);
    list->add_option("--format", asLines, "human or jsonl")
        ->transform(CLI::CheckedTransformer(listFormats).description("{human,jsonl}"));
    return list;
  };
  auto* typeListCommand =
      addList("work-type", "what workers can do", "all types, their parameters, what they measure");
  auto* assertionListCommand = addList("assertion", "what can be asserted",
                                       "all assertions, their units and defaults, what they compare");
  SnapshotOptions snapshot;
  auto* snapshotCommand =
      app.add_subcommand("snapshot", "dump the scheduler's state of a run or machine, now");
  addSnapshot(*snapshotCommand, snapshot);
  auto* probeCommand = app.add_subcommand("probe", "say as a line of JSON what /dev/kvm is good for here");
  probeCommand->footer("exit codes: 0 it runs Linux, 5 it does not");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  if (*probeCommand) return probe();
  if (*snapshotCommand) return takeSnapshot(snapshot);
  if (*typeListCommand) {
    writeAll(STDOUT_FILENO, asLines ? workTypeJsonLines() : workTypeTable());
    return 0;
  }
  if (*assertionListCommand) {
    writeAll(STDOUT_FILENO, asLines ? assertionJsonLines() : assertionText());
    return 0;
  }
  if (*scenarioListCommand) {
    const auto fitting = listTopology.empty() ? std::nullopt : std::optional(parseTopology(listTopology));
    writeAll(STDOUT_FILENO, scenarioList(listFormat, fitting));
    return 0;
  }
  if (*listCommand) return listRecords();
  if (*showCommand && !snapshotName.empty())
    return showSnapshot(recordName, snapshotName, recordFormat == OutputFormat::jsonl);
  if (*showCommand) return showRecord(recordName, recordFormat, showTimeline);
  parseTopology(demo.topology);
  cache::parseKernelSpec(demo.kernel);
  if (*demoCommand) return runDemo(demo);
  words.read(options);
  if (*scenarioShowCommand) return showScenario(options);
  applyGuestOptions(options);
  options.progress = isatty(STDERR_FILENO) == 1;
  return runOnAll(options, words.kernels, all);
}

}  // namespace
}  // namespace ktstr

int main(int argc, char** argv) {
  ktstr::log::start("ktstr");
  signal(SIGINT, ktstr::endBySignal);
  signal(SIGTERM, ktstr::endBySignal);
  signal(SIGPIPE, SIG_IGN);
  try {
    return ktstr::dispatch(argc, argv);
  } catch (const ktstr::Error& error) {
    fprintf(stderr, "ktstr: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const kj::Exception& exception) {
    fprintf(stderr, "ktstr: internal: %s\n", kj::str(exception).cStr());
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  } catch (const std::exception& exception) {
    fprintf(stderr, "ktstr: internal: %s\n", exception.what());
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  }
}
