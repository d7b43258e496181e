// ktstr-monitor: samples of a guest's scheduler, from its memory alone.
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iostream>
#include <new>
#include <optional>

#include "monitor/service.h"
#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

struct CommandLine {
  MonitorOptions options;
  std::optional<Inspection> inspection;  // one look instead of samples
  std::optional<MapWrite> write;
  std::vector<std::string> watches;
  bool core = false;  // write a core instead of samples
  bool printSeccomp = false;
};

struct Tool {
  const char* name;
  const char* help;
  std::vector<std::string> required, optional;  // arguments
};

constexpr size_t maxArguments = 3;
const Tool tools[] = {
    {"maps", "List the BPF maps", {}, {}},
    {"map", "Show what is in a BPF map", {"NAME"}, {"PATH"}},
    {"progs", "List the BPF programs, with their runs", {}, {"NAME"}},
    {"tasks", "List the tasks, with what sched_ext keeps of them", {}, {}},
    {"events", "Show the event counters of the attached scheduler", {}, {}},
    {"dsqs", "Show the dispatch queues of sched_ext, with the tasks on them", {}, {}},
    {"dump", "Show all of the scheduler's state at one moment, the guest frozen meanwhile", {}, {"NAME"}},
    {"symbol", "Show the address of a symbol, or what is at an address", {"SYMBOL"}, {}},
    {"type", "Show the members of a kernel type", {"TYPE"}, {"PATH"}},
    {"read", "Show a value of a kernel type", {"ADDRESS", "TYPE"}, {"PATH"}},
    {"support", "Show what of this kernel can be seen, and where", {}, {}},
};

constexpr const char* footer = R"(
A look at a guest (maps ... support) prints one JSON line for each record, or a table with --format text. NAME of a
map or program is its name, the end of it (.bss), or #ID. PATH is member.member[3].member. ADDRESS is 0xHEX, a
symbol, SYMBOL@CPU (that CPU's copy of a per-CPU variable), or one of these after a *: where the pointer there leads.
write changes a number in an array map (.bss, .data) through the VMM's gate, while the guest stands still, and reads
it back; PLACE is a path, or +OFFSET for four bytes. watch prints a value each time that it is found changed, or
found to keep a comparison that it did not keep before: it looks each period (--period-ms), and does not see what
changes and changes back in between. core writes an ELF vmcore of the guest, which stands still meanwhile, to
standard output: for --core, drgn and crash.

support --kernel K boots K and looks at that (ktstr support). Nothing changes in a core: samples takes one of it.

Examples:
  ktstr-monitor --vm observe.sock --format text
  ktstr-monitor maps --vm observe.sock --format text
  ktstr-monitor map .bss nr_queued --vm observe.sock | jq .value
  ktstr-monitor dump --vm observe.sock --format text
  ktstr-monitor read '*scx_root' scx_sched ops.name --vm observe.sock
  ktstr-monitor write .data slice_ns 5000000 --vm observe.sock --gate gate.sock
  ktstr-monitor watch '*scx_root scx_sched ops.name' '.bss:nr_queued > 5' --vm observe.sock --period-ms 1
  ktstr-monitor read init_task task_struct scx --ram ram.bin --format text
  ktstr-monitor read runqueues@2 rq scx --vm observe.sock --format text
  ktstr-monitor core --vm observe.sock > vmcore && ktstr-monitor tasks --core vmcore --format text

Exit codes: 0 done, 2 wrong usage, 3 something could not be seen, 4 the VM or the host failed.)";

void addTools(CLI::App& app, CommandLine& line, Inspection& inspection) {
  app.require_subcommand(0, 1);
  inspection.arguments.resize(maxArguments);
  for (const Tool& tool : tools) {
    auto* const command = app.add_subcommand(tool.name, tool.help)->fallthrough();
    size_t index = 0;
    for (const auto& name : tool.required)
      command->add_option(name, inspection.arguments.at(index++))->required();
    for (const auto& name : tool.optional) command->add_option(name, inspection.arguments.at(index++));
    command->add_option("--limit", inspection.limit, "Records to show at most")
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000));
    if (index > 0)
      command->add_option("--hops", inspection.hops, "Pointers to follow")->check(CLI::Range(0, 16));
    command->add_flag("--freeze", line.options.freeze, "Let the guest stand still meanwhile");
    command->callback([&line, &inspection, name = tool.name] {
      inspection.command = name;
      line.inspection = inspection;
    });
  }
}

void addWrite(CLI::App& app, CommandLine& line, MapWrite& write) {
  auto* const command = app.add_subcommand("write", "Write a number into a BPF map")->fallthrough();
  command->add_option("MAP", write.map, "Name of the map, the end of it, or #ID")->required();
  command->add_option("PLACE", write.place, "Path in the value, or +OFFSET")->required();
  command->add_option("VALUE", write.value, "Number, true, false or an enumerator")->required();
  command->add_option("--gate", line.options.gatePath, "Gate socket of the VMM")->required();
  command->callback([&line, &write] { line.write = write; });
}

void addWatch(CLI::App& app, CommandLine& line) {
  auto* const command = app.add_subcommand("watch", "Show values as they change")->fallthrough();
  command
      ->add_option("EXPRESSION", line.watches,
                   "SYMBOL, 'ADDRESS TYPE [PATH]' or MAP:PATH in an array map, with ' > 5' (== != < <= > >=) "
                   "after it to be told when that begins to hold; --count is of changes")
      ->required()
      ->expected(1, static_cast<int>(Watches::most));
}

void addWritesInRun(CLI::App& app, MonitorOptions& options) {
  auto* const grants = app.add_option("--grants-fd", options.grantsFd,
                                      "Connected socket of who grants a write gate, for --map-write")
                           ->check(CLI::Range(3, 1 << 20));
  app.add_option("--map-write", options.mapWrites,
                 "MAP:PLACE=VALUE, written once a scheduler is enabled (repeatable)")
      ->allow_extra_args(false)
      ->needs(grants);
  app.add_option("--watchdog-ms", options.watchdogMs,
                 "Timeout of sched_ext's watchdog for every scheduler that is enabled")
      ->check(CLI::Range(minWatchdogMs, maxWatchdogMs))
      ->needs(grants);
}

// In a core nothing changes, and nothing can be changed.
void checkCore(CommandLine& line) {
  MonitorOptions& options = line.options;
  if (options.corePath.empty()) return;
  if (!line.inspection && options.count == 0) options.count = 1;
  const char* const live = !line.watches.empty() ? "watch"
                           : line.write          ? "write"
                           : options.freeze      ? "--freeze"
                                                 : nullptr;
  if (live != nullptr) {
    throw Error(ExitCode::usage, "core-stands-still", text(live, " means nothing of a core"),
                "look at a machine that runs: --vm SOCK");
  }
}

// `support --kernel K` wants a machine, and machines are the front end's: it takes over. Returns if these are
// other words.
void handOverSupport(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto has = [&](const std::string& option) {
    return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
      return word == option || word.starts_with(option + "=");
    });
  };
  if (words.empty() || words.front() != "support" || !has("--kernel")) return;
  const std::string path = toolPath("ktstr");
  std::vector<const char*> all = {path.c_str()};
  for (const auto& word : words) all.push_back(word.c_str());
  if (!has("--format")) all.insert(all.end(), {"--format", "jsonl"});
  all.push_back(nullptr);
  execv(path.c_str(), const_cast<char**>(all.data()));
  throw errnoError("spawn-failed", "execute " + path);
}

CommandLine parse(int argc, char** argv) {
  CommandLine line;
  MonitorOptions& options = line.options;
  std::string format = "jsonl";
  Inspection inspection;
  CLI::App app(
      "Finds the Linux kernel in a guest's memory and samples its runqueues. Records go to standard output.",
      "ktstr-monitor");
  app.footer(footer);
  app.add_subcommand("samples", "Sample the runqueues, as is done without a command")->fallthrough();
  addTools(app, line, inspection);
  MapWrite write;
  addWrite(app, line, write);
  addWatch(app, line);
  app.add_subcommand("core", "Write an ELF vmcore of the guest to standard output")
      ->fallthrough()
      ->callback([&line] { line.core = true; });
  auto* source = app.add_option_group("source")->require_option(1);
  source->add_option("--vm", options.vmPath, "Observe socket of a VMM");
  source->add_option("--vm-fd", options.vmFd, "Connected observe socket")->check(CLI::Range(3, 1 << 20));
  source->add_option("--ram", options.ramPath, "Raw RAM file in the machine model's layout");
  source->add_option("--core", options.corePath, "ELF vmcore, of `core` or of QEMU's dump-guest-memory");
  source->add_flag("--print-seccomp", line.printSeccomp,
                   "Print the system calls allowed after start, and exit");
  app.add_option("--analysis-fd", options.analysisFd, "Connected socket of an analysis store")
      ->check(CLI::Range(3, 1 << 20));
  addWritesInRun(app, options);
  app.add_option("--build-id", options.buildId, "Build id of the kernel that is expected, hex");
  app.add_option("--period-ms", options.periodMs, "Time between samples")
      ->capture_default_str()
      ->check(CLI::Range(1, 3'600'000));
  app.add_option("--attach-ms", options.attachMs, "A look gives up when it has found no kernel for so long")
      ->capture_default_str()
      ->check(CLI::Range(1, 3'600'000));
  app.add_option("--count", options.count, "Samples to take; 0 = until the end")->capture_default_str();
  app.add_option("--format", format, "jsonl, capnp or text")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) std::exit(app.exit(error));
    throw Error(ExitCode::usage, "command-line-invalid", error.what(), "see ktstr-monitor --help");
  }
  options.format = parseRecordFormat(format);
  checkCore(line);
  return line;
}

// Whatever else the parent left open is none of our business.
void closeInherited(const MonitorOptions& options) {
  unsigned from = 3;
  std::array<int, 3> kept = {options.vmFd, options.analysisFd, options.grantsFd};
  std::sort(kept.begin(), kept.end());
  for (const int keep : kept) {
    if (keep < static_cast<int>(from)) continue;
    if (static_cast<unsigned>(keep) > from) close_range(from, static_cast<unsigned>(keep) - 1, 0);
    from = static_cast<unsigned>(keep) + 1;
  }
  close_range(from, ~0u, 0);
}

ExitCode monitor(int argc, char** argv) {
  handOverSupport(argc, argv);
  const CommandLine line = parse(argc, argv);
  if (line.printSeccomp) {
    for (const auto& rule : monitorSandbox().describe()) std::cout << rule << '\n';
    return ExitCode::pass;
  }
  closeInherited(line.options);
  log::start("ktstr-monitor");
  mallopt(M_MMAP_THRESHOLD, 1 << 30);  // large blocks from brk: growing them needs no mremap
  std::optional<CoreOutput> output;
  if (line.core) output.emplace(STDOUT_FILENO);
  const bool progress = line.core && isatty(STDERR_FILENO) == 1;
  auto io = kj::setupAsyncIo();
  MonitorService service(io, line.options);
  service.open();
  monitorSandbox().lockDown();
  if (output) return service.writeCore(*output, progress);
  if (line.write) return service.writeMap(*line.write);
  if (!line.watches.empty()) return service.watchAll(line.watches);
  return line.inspection ? service.inspect(*line.inspection) : service.run();
}

}  // namespace
}  // namespace ktstr

int main(int argc, char** argv) {
  try {
    return static_cast<int>(ktstr::monitor(argc, argv));
  } catch (const ktstr::Error& error) {
    std::cerr << "ktstr-monitor: " << error.what() << '\n';
    return static_cast<int>(error.code());
  } catch (const kj::Exception& exception) {
    std::cerr << "ktstr-monitor: internal: " << exception.getDescription().cStr() << '\n';
  } catch (const std::bad_alloc&) {
    std::cerr
        << "ktstr-monitor: out-of-memory: what was looked for in the guest takes more memory than a monitor "
           "may have\n";
    return static_cast<int>(ktstr::ExitCode::inconclusive);
  } catch (const std::exception& exception) {
    std::cerr << "ktstr-monitor: internal: " << exception.what() << '\n';
  }
  return static_cast<int>(ktstr::ExitCode::infrastructure);
}
