// ktstr-kbuild: sched_ext schedulers out of the kernel's own source; `ktstr scheduler` for people.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <thread>

#include "cache/store.h"
#include "kbuild/builder.h"
#include "kbuild/confine.h"
#include "kbuild/inputs.h"
#include "kbuild/own_sources.h"
#include "kbuild/recipe.h"
#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/json_string.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

constexpr const char* examples = R"help(
Schedulers are linked statically, so they run in a guest that has no libraries, and loaded by CO-RE: one binary
serves several kernels. They are cached under a key made from the kernel source, the kernel's BTF and the
versions of clang and gcc; asking again is a look-up. The network is touched only if the kernel or its source
package is not in the cache yet. The first build from a source takes about a minute, later ones a few seconds: what
they share (the tree's libbpf and bpftool) is cached as well. It needs make, gcc, python3 and clang 17
or newer (clang-22 is preferred: the scx_qmap that older ones make is refused by the verifier of 7.3).

A scheduler of your own is built the same way, in place of the tree's: --with DIR lays DIR/scx_NAME.bpf.c,
DIR/scx_NAME.c and the headers of DIR among those of tools/sched_ext. Its key has their contents, too.

EXAMPLES
  ktstr scheduler build                              all schedulers of debian:7.3
  ktstr scheduler build qmap flatcg --out /tmp/scx   two of them, copied to a directory
  ktstr scheduler build --kernel debian:7.3.4 --json one JSON line for each
  ktstr scheduler build --source linux-7.4.tar.xz    from a source archive of your own
  ktstr run gap.json --scheduler "$(ktstr scheduler path qmap)"
  ktstr scheduler path scx_mine --with ~/src/mine    from sources of your own
  ktstr scheduler list                               what is built already

ERRORS (exit code 4 unless noted)
  clang-missing, build-tool-missing   a host program is missing; says which package has it
  build-failed                        says what make or the linker said last and where the whole log is
  archive-unsafe, archive-corrupt     the source archive cannot be trusted or read
  cache-tool-failed                   the kernel or its source could not be got; ktstr-cache says why
  scheduler-unknown, sched-ext-missing, source-unknown, kernel-no-btf   (exit code 2)
  scheduler-source-missing            no scheduler in a DIR, or half of one (exit code 2)
  scheduler-source-twice, scheduler-name-invalid   (exit code 2)

ENVIRONMENT
  KTSTR_CACHE_DIR    where the cache is (default $XDG_CACHE_HOME/ktstr or ~/.cache/ktstr)
  KTSTR_SANDBOX=quiet  end without naming the system call if this program asks for a forbidden one)help";

struct Options {
  InputRequest inputs{"debian:7.3", "", ""};
  std::vector<std::string> names;
  std::string name;
  std::vector<std::string> with;
  std::string out;
  bool json = false;
  bool list = false;
};

std::string fullName(const std::string& name) {
  return name.starts_with("scx_") ? name : "scx_" + name;
}

std::vector<std::string> schedulersOf(const cache::Entry& entry) {
  std::vector<std::string> names;
  for (const auto file : entry.record().getFiles()) {
    const std::string name = file.getName();
    if (name.starts_with("scx_")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const auto& each : words) all += (all.empty() ? "" : ", ") + each;
  return all;
}

std::vector<std::string> chosen(const cache::Entry& entry, const std::vector<std::string>& asked,
                                const std::vector<std::string>& with) {
  auto there = schedulersOf(entry);
  if (asked.empty()) return there;
  std::vector<std::string> names;
  for (const auto& each : asked) {
    names.push_back(fullName(each));
    if (std::find(there.begin(), there.end(), names.back()) != there.end()) continue;
    const std::string place =
        with.empty() ? "the source of " + entry.attribute("kernel").value_or("this kernel") : joined(with);
    throw Error(ExitCode::usage, "scheduler-unknown", text(place, " has no scheduler \"", each, "\""),
                "there are: " + joined(there));
  }
  return names;
}

// What all builds of one run are made with.
struct Bench {
  const cache::Store& store;
  const Inputs& inputs;
  const Tools& tools;
};

// Fills a draft by `build`, which may change the request: as given it is that of a kit.
void fill(cache::Draft& draft, const std::string& key, const Bench& bench,
          const std::function<void(BuildRequest& request, const Interrupts&, Progress&)>& build) {
  const Interrupts interrupts;
  Progress progress;
  const std::string scratch = draft.directory() + "/scratch";
  fs::create_directory(scratch);
  const std::string failureLog = bench.store.root() + "/failed-builds/" + key + ".log";
  BuildRequest request{.archive = bench.inputs.archive,
                       .btf = bench.inputs.btf,
                       .output = draft.directory(),
                       .scratch = scratch,
                       .failureLog = failureLog,
                       .jobs = std::max(1U, std::thread::hardware_concurrency())};
  build(request, interrupts, progress);
  fs::remove(scratch);
  fs::remove(failureLog);  // of an earlier attempt
  draft.attribute("source", fs::path(bench.inputs.archive).filename().string());
  draft.attribute("sourceDigest", bench.inputs.archiveDigest);
  draft.attribute("clang", bench.tools.clangVersion);
  draft.attribute("compiler", bench.tools.compilerVersion);
}

void reportCorrupt(const Error& error) {
  log::warn(error.what());
}

cache::Entry findOrBuildKit(const Bench& bench) {
  const std::string key = kitKey(bench.inputs.archiveDigest, bench.tools);
  return bench.store.findOrMake(
      "kit", key,
      [&](cache::Draft& draft) {
        fill(draft, key, bench,
             [&](const BuildRequest& request, const Interrupts& interrupts, Progress& progress) {
               buildKit(request, bench.tools, interrupts, progress);
             });
      },
      reportCorrupt);
}

cache::Entry findOrBuild(const cache::Store& store, const Options& options) {
  const OwnSources own = options.with.empty() ? OwnSources() : readOwnSources(options.with);
  const Tools tools = findTools();
  const Inputs inputs = findInputs(store, options.inputs);
  buildSandbox("ktstr-kbuild").lockDown();
  const Bench bench{store, inputs, tools};
  const std::string key = entryKey(inputs.archiveDigest, inputs.btfId, tools, own.digest);
  return store.findOrMake(
      "scheduler", key,
      [&](cache::Draft& draft) {
        const cache::Entry kit = findOrBuildKit(bench);
        fill(draft, key, bench, [&](BuildRequest& request, const Interrupts& interrupts, Progress& progress) {
          request.archive = kit.path(kitFile);
          request.own = own;
          buildSchedulers(request, tools, interrupts, progress);
        });
        draft.attribute("kernel", inputs.kernel);
        draft.attribute("btfId", inputs.btfId);
      },
      reportCorrupt);
}

void copyOut(const std::string& from, const std::string& directory, const std::string& name) {
  fs::create_directories(directory);
  const fs::path place = fs::path(directory) / name;
  const fs::path aside = fs::path(directory) / text(".", name, ".", getpid());
  fs::copy_file(from, aside, fs::copy_options::overwrite_existing);
  fs::rename(aside, place);
}

void print(const cache::Entry& entry, const std::vector<std::string>& names, bool json) {
  const std::string kernel = entry.attribute("kernel").value_or("");
  for (const auto file : entry.record().getFiles()) {
    const std::string name = file.getName();
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    if (json) {
      std::cout << "{\"name\":" << jsonString(name) << ",\"kernel\":" << jsonString(kernel)
                << ",\"path\":" << jsonString(entry.path(name)) << ",\"size\":" << file.getSize()
                << ",\"sha256\":" << jsonString(file.getSha256().cStr()) << "}\n";
    } else {
      std::cout << name << std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') << kernel << "  "
                << entry.path(name) << "\n";
    }
  }
}

void listBuilt(const cache::Store& store, bool json) {
  for (const auto& entry : store.list("scheduler")) print(entry, schedulersOf(entry), json);
}

void build(const cache::Store& store, const Options& options) {
  const auto entry = findOrBuild(store, options);
  const auto names = chosen(entry, options.names, options.with);
  for (const auto& name : names) {
    if (!options.out.empty()) copyOut(entry.path(name), options.out, name);
  }
  print(entry, names, options.json);
}

void printPath(const cache::Store& store, const Options& options) {
  const auto entry = findOrBuild(store, options);
  std::cout << entry.path(chosen(entry, {options.name}, options.with).front()) << "\n";
}

void addInputOptions(CLI::App& command, Options& options) {
  command.add_option("--kernel", options.inputs.kernel, "kernel whose source and BTF are used")
      ->type_name("SPEC")
      ->capture_default_str();
  command
      .add_option("--source", options.inputs.archive,
                  "a kernel source archive instead of the kernel's package")
      ->type_name("TARBALL");
  command.add_option("--vmlinux", options.inputs.vmlinux, "an ELF or BTF file instead of the kernel's")
      ->type_name("FILE");
  command.add_option("--with", options.with, "build the schedulers whose sources are here, not the kernel's")
      ->type_name("DIR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Makes sched_ext schedulers from the kernel's own tools/sched_ext.", "ktstr scheduler");
  app.require_subcommand(1);
  app.footer(examples);

  auto* buildCommand = app.add_subcommand("build", "build them (or look them up) and print where they are");
  buildCommand->alias("schedulers");
  buildCommand->add_option("NAME", options.names,
                           "scheduler, such as scx_qmap or qmap; all if there is none");
  buildCommand->add_option("--out", options.out, "copy them to this directory, too")->type_name("DIR");
  buildCommand->add_flag("--json", options.json, "JSON Lines: name, kernel, path, size, sha256");
  buildCommand->add_flag("--list", options.list, "the same as the command list");
  addInputOptions(*buildCommand, options);

  auto* pathCommand = app.add_subcommand("path", "print the path of one, built if need be");
  pathCommand->add_option("NAME", options.name, "scheduler, such as scx_qmap or qmap")->required();
  addInputOptions(*pathCommand, options);

  auto* listCommand = app.add_subcommand("list", "what is built already; builds and downloads nothing");
  listCommand->add_flag("--json", options.json, "JSON Lines: name, kernel, path, size, sha256");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  const auto store = cache::Store::open();
  if (listCommand->parsed() || options.list) {
    listBuilt(store, options.json);
  } else if (buildCommand->parsed()) {
    build(store, options);
  } else {
    printPath(store, options);
  }
  return 0;
}

}  // namespace
}  // namespace ktstr::kbuild

int main(int argc, char** argv) {
  ktstr::log::start("ktstr-kbuild");
  try {
    return ktstr::kbuild::run(argc, argv);
  } catch (const ktstr::kbuild::Interrupted& interrupted) {
    raise(interrupted.signal);
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  } catch (const ktstr::Error& error) {
    std::cerr << "ktstr scheduler: " << error.what() << "\n";
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "ktstr scheduler: " << error.what() << "\n";
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  }
}
