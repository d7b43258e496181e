#include "orchestrator/guest_options.h"

#include <capnp/message.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <utility>

#include "guest/scenario/operations.h"
#include "protocol/error.h"
#include "protocol/map_write.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

namespace fs = std::filesystem;

constexpr const char* includeDirectory = "/include-files/";

// What guest/boot/machine.cc says itself, and what would give the machine another shape or another init
// (Documentation/admin-guide/kernel-parameters.txt).
constexpr const char* ownArguments[] = {
    "acpi",    "console",       "earlycon", "earlyprintk",   "init",     "initrd",         "lpj",
    "maxcpus", "mem",           "memmap",   "nosmp",         "noapic",   "nr_cpus",        "numa",
    "panic",   "pci",           "quiet",    "rdinit",        "reboot",   "retain_initrd",  "root",
    "tsc",     "tsc_early_khz", "nokaslr",  "possible_cpus", "noinitrd", "no_timer_check", "loglevel",
    "debug"};

[[noreturn]] void invalid(const std::string& what, const std::string& hint) {
  throw Error(ExitCode::usage, "option-invalid", what, hint);
}

struct Pair {
  std::string name, value;
};

Pair pairOf(const char* option, const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0) {
    invalid(text(option, " \"", word, "\" is not NAME=VALUE"), "write the name, =, and the value");
  }
  return {word.substr(0, equals), word.substr(equals + 1)};
}

bool isPlainPath(const std::string& path) {
  const std::string closed = path + "/";
  return path.starts_with('/') && path.size() > 1 && closed.find("//") == std::string::npos &&
         closed.find("/./") == std::string::npos && closed.find("/../") == std::string::npos &&
         path.find('\0') == std::string::npos;
}

// As sysctl(8): where the first separator is a dot, dots and slashes change places.
std::string sysctlPath(std::string name) {
  const size_t first = name.find_first_of("./");
  if (first != std::string::npos && name[first] == '.') {
    for (char& c : name) c = c == '.' ? '/' : c == '/' ? '.' : c;
  }
  return "/proc/sys/" + name;
}

Pair sysctlOf(const std::string& word) {
  const Pair pair = pairOf("--sysctl", word);
  const auto ordinary = [](char c) { return isalnum(static_cast<unsigned char>(c)) || strchr("_.-/", c); };
  if (!std::all_of(pair.name.begin(), pair.name.end(), ordinary) || !isPlainPath(sysctlPath(pair.name))) {
    invalid(text("--sysctl \"", word, "\": that is no sysctl"), "as in kernel.sched_rt_runtime_us=-1");
  }
  return {sysctlPath(pair.name), pair.value};
}

Pair fileOf(const std::string& word) {
  Pair pair = pairOf("--file", word);
  const auto isIn = [&](const char* tree) { return pair.name.starts_with(tree); };
  if (!isPlainPath(pair.name) || isIn("/proc/") || isIn("/sys/") || isIn("/dev/") || isIn("/ktstr/")) {
    invalid(text("--file \"", pair.name, "\" is no place for a file in the guest"),
            "as in --file /etc/layers.json=\"$(cat layers.json)\"");
  }
  return pair;
}

Pair switchOf(const std::string& word) {
  Pair pair = pairOf("--enable and --disable:", word);
  if (isPlainPath(pair.name)) return pair;
  invalid(text("\"", pair.name, "\" is no absolute path"),
          "as in --enable /sys/kernel/debug/sched/features=NO_WAKEUP_PREEMPTION");
}

void write(const std::vector<std::string>& words, Pair (*parse)(const std::string&),
           capnp::List<rpc::FileWrite>::Builder to) {
  for (uint i = 0; i < to.size(); i++) {
    const Pair pair = parse(words[i]);
    to[i].setPath(pair.name);
    to[i].setContent(pair.value);
  }
}

std::string hostPathOf(const std::string& wanted) {
  if (wanted.find('/') == std::string::npos && access(wanted.c_str(), F_OK) != 0) {
    if (const auto found = findProgram(wanted)) return *found;
  }
  if (access(wanted.c_str(), F_OK) == 0) return wanted;
  throw Error(ExitCode::usage, "include-missing", text("--include ", wanted, ": there is no such file"),
              wanted.find('/') == std::string::npos ? "it is neither in the working directory nor in PATH"
                                                    : "check the path");
}

// Of two for one place the last one stays.
std::vector<std::string> lastForEachPlace(const std::vector<std::string>& words) {
  std::map<std::pair<std::string, std::string>, size_t> last;
  for (size_t i = 0; i < words.size(); i++) {
    const MapWrite write = parseMapWrite(words[i]);
    last[{write.map, write.place}] = i;
  }
  std::vector<std::string> kept;
  for (size_t i = 0; i < words.size(); i++) {
    const MapWrite write = parseMapWrite(words[i]);
    if (last.at({write.map, write.place}) == i) kept.push_back(words[i]);
  }
  return kept;
}

// `what` makes our monitor write into the machine.
void refuseStandingVmm(const RunOptions& options, const std::string& what) {
  if (!options.vmm.empty()) {
    invalid(what + " and --vmm: the monitor that writes belongs to a VMM of our own",
            "leave out --vmm, or write with ktstr-monitor write --gate");
  }
}

void checkMonitorWrites(const RunOptions& options, const std::string& option) {
  if (options.scheduler.empty()) invalid(option + " without a scheduler", "give --scheduler");
  refuseStandingVmm(options, option);
}

void checkWatchdog(const RunOptions& options) {
  constexpr uint32_t leastMs = 1000;  // monitor/watchdog.h
  if (options.guest.watchdogMs == 0) return;
  if (options.guest.watchdogMs < leastMs)
    invalid(text("--watchdog-timeout ", options.guest.watchdogMs, "ms"), "give a second or more");
  checkMonitorWrites(options, "--watchdog-timeout");
}

void checkMapWrites(RunOptions& options) {
  options.guest.mapWrites = lastForEachPlace(options.guest.mapWrites);
  if (options.guest.mapWrites.empty()) return;
  if (options.guest.mapWrites.size() > maxMapWrites)
    invalid(text(options.guest.mapWrites.size(), " times --map-write"), text("at most ", maxMapWrites));
  checkMonitorWrites(options, "--map-write");
}

}  // namespace

std::string kernelArguments(const GuestOptions& options) {
  std::string line;
  for (const std::string& word : options.kernelArguments) {
    const auto refuse = [&](const std::string& why) {
      throw Error(ExitCode::usage, "kernel-argument-invalid", text("\"", word, "\" ", why),
                  "give one NAME or NAME=VALUE each time");
    };
    const std::string name = word.substr(0, word.find('='));
    const auto isName = [&](const char* own) { return name == own; };
    if (word.find_first_of(" \t\n\"") != std::string::npos || name.empty() || name.starts_with('-')) {
      refuse("is no single word of a kernel command line");
    }
    if (name.starts_with("ktstr.") || std::any_of(std::begin(ownArguments), std::end(ownArguments), isName)) {
      refuse("would override what the machine is started with");
    }
    line += " " + word;
  }
  return line;
}

std::vector<ImageFile> includeFiles(const GuestOptions& options) {
  std::map<std::string, std::pair<std::string, std::string>> placed;  // guest path: host path, the word
  const auto place = [&](const std::string& guest, const fs::path& host, const std::string& word) {
    const std::string canonical = fs::canonical(host).string();
    const auto [at, isNew] = placed.try_emplace(guest, canonical, word);
    if (isNew || at->second.first == canonical) return;
    throw Error(ExitCode::usage, "include-conflict",
                text(at->second.first, " (of ", at->second.second, ") and ", canonical, " (of ", word,
                     ") would both be ", guest),
                "give one of them another place: FILE:GUESTPATH");
  };
  for (const std::string& word : options.includes) {
    const size_t colon = word.rfind(":/");
    const bool hasPlace = colon != std::string::npos && colon > 0;
    const fs::path host = hostPathOf(hasPlace ? word.substr(0, colon) : word);
    const std::string name = (host.has_filename() ? host : host.parent_path()).filename().string();
    const std::string guest = hasPlace ? word.substr(colon + 1) : includeDirectory + name;
    if (!fs::is_directory(host)) {
      place(guest, host, word);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(host)) {
      if (entry.is_regular_file())
        place(guest + "/" + fs::relative(entry.path(), host).string(), entry, word);
    }
  }
  std::vector<ImageFile> files;
  for (const auto& [guest, from] : placed) files.push_back({guest, from.first});
  return files;
}

void writeGuestOptions(const GuestOptions& options, rpc::GuestOrders::Builder orders) {
  const auto size = [](const std::vector<std::string>& words) { return static_cast<uint>(words.size()); };
  write(options.sysctls, sysctlOf, orders.initSysctls(size(options.sysctls)));
  write(options.files, fileOf, orders.initFiles(size(options.files)));
  write(options.enable, switchOf, orders.initEnable(size(options.enable)));
  write(options.disable, switchOf, orders.initDisable(size(options.disable)));
  if (!options.cgroupParent.empty() && !isPlainPath(options.cgroupParent)) {
    invalid(text("--cgroup-parent \"", options.cgroupParent, "\" is no path below the root cgroup"),
            "as in --cgroup-parent /tenants");
  }
  orders.setCgroupParent(options.cgroupParent);
}

void writeSettings(const RunOptions& options, rpc::GuestSettings::Builder settings) {
  const GuestOptions& guest = options.guest;
  const auto size = [](const std::vector<std::string>& words) { return static_cast<uint>(words.size()); };
  const auto fill = [](const std::vector<std::string>& words, capnp::List<capnp::Text>::Builder list) {
    for (uint i = 0; i < list.size(); i++) list.set(i, words[i]);
  };
  fill(guest.sysctls, settings.initSysctls(size(guest.sysctls)));
  fill(guest.includes, settings.initIncludes(size(guest.includes)));
  fill(guest.files, settings.initFiles(size(guest.files)));
  fill(guest.enable, settings.initEnable(size(guest.enable)));
  fill(guest.disable, settings.initDisable(size(guest.disable)));
  fill(options.schedulerEnv, settings.initEnvironment(size(options.schedulerEnv)));
  settings.setCgroupParent(guest.cgroupParent);
  settings.setCommandLine(options.commandLine);
}

void checkScenarioWrites(const RunOptions& options, rpc::Scenario::Reader scenario) {
  const size_t writes = countMapWrites(scenario), atStart = options.guest.mapWrites.size();
  if (writes == 0) return;
  refuseStandingVmm(options, "a scenario with the operation writeMap");
  if (writes + atStart > maxMapWrites) {
    invalid(text(atStart, " times --map-write, and ", writes, " writes of the scenario"),
            text("at most ", maxMapWrites, " in a run"));
  }
}

void applyGuestOptions(RunOptions& options) {
  capnp::MallocMessageBuilder checked;
  writeGuestOptions(options.guest, checked.initRoot<rpc::GuestOrders>());
  options.commandLine += kernelArguments(options.guest);
  checkMapWrites(options);
  checkWatchdog(options);
  if (!options.schedulerConfig.empty()) {
    if (options.scheduler.empty()) {
      invalid("--scheduler-config without a scheduler that would read it", "give --scheduler");
    }
    const std::string place = includeDirectory + fs::path(options.schedulerConfig).filename().string();
    options.guest.includes.push_back(options.schedulerConfig + ":" + place);
    options.schedulerArgs.insert(options.schedulerArgs.begin(), {"--config", place});
  }
  includeFiles(options.guest);
}

}  // namespace ktstr
