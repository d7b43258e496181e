// ktstr-cache: kernels and other cached things. `ktstr kernel ...` runs it with the same words.
#include <bpf/libbpf.h>
#include <kj/async-io.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "cache/confine.h"
#include "cache/display.h"
#include "cache/get.h"
#include "cache/kernel.h"
#include "cache/service.h"
#include "cache/store.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/text.h"
#include "protocol/transport.h"

namespace ktstr::cache {
namespace {

struct Arguments {
  std::string command;
  std::string spec;
  std::string file = "vmlinux";
  bool json = false;
  int fd = -1;
  GetOptions get;
};

constexpr const char* examples = R"(
Kernels:
  debian:7.3            the newest 7.3.x of all Debian suites, cloud flavour
  debian:6.18.15        exactly that one
  debian:7.3:generic    another flavour (cloud, generic, rt)
  debian:6.16..7.0      each series from 6.16 to 7.0 that Debian has (get and expand; also with :FLAVOUR)
  ./vmlinuz             a bzImage or a vmlinux ELF file

Examples:
  ktstr kernel get debian:7.3
  ktstr kernel expand debian:6.16..7.0
  ktstr kernel list --json | jq .kernel.release
  ktstr kernel path debian:7.3 config
  ktstr kernel verify

The cache is $KTSTR_CACHE_DIR, else $XDG_CACHE_HOME/ktstr, else ~/.cache/ktstr. A kernel that is in it needs no
network. Exit codes: 0 done, 2 wrong usage or unknown kernel, 4 network, disk or damaged data.)";

void defineCommands(CLI::App& app, Arguments& arguments) {
  app.require_subcommand(1);
  app.footer(examples);
  const auto add = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->callback([&arguments, name] { arguments.command = name; });
    return command;
  };
  const auto spec = [&](CLI::App* command) {
    return command->add_option("KERNEL", arguments.spec, "see above");
  };
  const auto json = [&](CLI::App* command) {
    command->add_flag("--json", arguments.json, "entries as JSON Lines (cache.capnp EntryRecord)");
  };
  CLI::App* get = add("get", "Get a kernel into the cache, unless it is there");
  spec(get)->required();
  json(get);
  get->add_flag("--update", arguments.get.update, "look for a newer match even if there is one in the cache");
  get->add_flag("--with-modules", arguments.get.withModules, "also kvm and irqbypass modules");
  CLI::App* expand = add("expand", "Print the kernels that a range stands for, one in a line");
  spec(expand)->required();
  expand->add_flag("--update", arguments.get.update, "ask Debian anew, even if the answer is known");
  json(add("list", "List the kernels in the cache, newest first"));
  CLI::App* path = add("path", "Print the path of a file of a cached kernel");
  spec(path)->required();
  path->add_option("FILE", arguments.file, "vmlinux, vmlinuz, btf, config, ...")->capture_default_str();
  spec(add("rm", "Remove a kernel from the cache"))->required();
  CLI::App* verify = add("verify", "Check every byte of one or all cached entries");
  spec(verify);
  json(verify);
  CLI::App* source = add("source", "Get the source of a Debian kernel; print the path of its tar.xz");
  spec(source)->required();
  source->add_flag("--update", arguments.get.update,
                   "look for a newer match even if there is one in the cache");
  add("serve", "Serve AnalysisStore (cache.capnp) on a connected socket")
      ->add_option("--fd", arguments.fd, "descriptor of the socket")
      ->required();
}

void print(const Entry& entry, bool json) {
  if (json) {
    std::cout << toJson(entry.record()) << "\n";
    return;
  }
  const auto facts = entry.record().getKernel();
  uint64_t size = 0;
  for (const auto file : entry.record().getFiles()) size += file.getSize();
  std::cout << facts.getSpec().cStr() << "\t" << facts.getRelease().cStr() << "\t"
            << (facts.getHasSchedExt() ? "sched_ext"
                : facts.getHasBtf()    ? "btf"
                                       : "no-btf")
            << "\t" << (size >> 20) << " MiB\t" << entry.directory() << "\n";
  for (const auto missing : facts.getMissing()) std::cerr << "  missing " << missing.cStr() << "\n";
}

void verifyAll(const Store& store, const Arguments& arguments) {
  std::vector<Entry> entries;
  if (arguments.spec.empty()) {
    for (const char* kind : {"kernel", "source", "analysis", "base", "kit", "scheduler"}) {
      for (Entry& entry : store.list(kind)) entries.push_back(std::move(entry));
    }
  } else {
    entries.push_back(findKernel(store, arguments.spec));
  }
  std::optional<Error> first;
  for (const Entry& entry : entries) {
    try {
      store.verify(entry);
      arguments.json ? print(entry, true) : void(std::cout << "ok " << entry.directory() << "\n");
    } catch (const Error& error) {
      std::cerr << "ktstr kernel: " << error.what() << "\n";
      if (!first) first = error;
    }
  }
  if (first) throw *first;
}

void runCommand(const Store& store, const Arguments& arguments, std::optional<Fetcher>& fetcher) {
  Display display;
  const GetReport report{[&](std::string_view line) { display.note(line); },
                         [&](int percent, std::string_view what) { display.progress(percent, what); }};
  if (arguments.command == "get") {
    for (const std::string& spec : expandSpec(store, arguments.spec, *fetcher, arguments.get, report)) {
      const Entry entry = getKernel(store, parseKernelSpec(spec), *fetcher, arguments.get, report);
      display.clear();
      print(entry, arguments.json);
    }
  } else if (arguments.command == "expand") {
    const auto specs = expandSpec(store, arguments.spec, *fetcher, arguments.get, report);
    display.clear();
    for (const std::string& spec : specs) std::cout << spec << "\n";
  } else if (arguments.command == "source") {
    const Entry entry = getSource(store, parseKernelSpec(arguments.spec), *fetcher, arguments.get, report);
    display.clear();
    std::cout << sourcePath(entry) << "\n";
  } else if (arguments.command == "list") {
    for (const Entry& entry : listKernels(store)) print(entry, arguments.json);
  } else if (arguments.command == "path") {
    std::cout << findKernel(store, arguments.spec).path(arguments.file) << "\n";
  } else if (arguments.command == "rm") {
    removeKernel(store, arguments.spec);
  } else if (arguments.command == "verify") {
    verifyAll(store, arguments);
  }
}

int serveOn(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) {
    throw Error(ExitCode::usage, "usage", text("descriptor ", fd, " is not a socket"),
                "give a connected one");
  }
  auto io = kj::setupAsyncIo();
  Connection connection(*io.lowLevelProvider, Fd(fd), makeAnalysisStore(Store::open()));
  storeSandbox().allowEventLoop().lockDown();
  connection.onDisconnect().wait(io.waitScope);
  return 0;
}

int run(const Arguments& arguments) {
  if (arguments.command == "serve") return serveOn(arguments.fd);
  const std::string root = Store::defaultRoot();
  std::optional<Fetcher> fetcher;
  if (arguments.command == "get" || arguments.command == "expand" || arguments.command == "source")
    fetcher = Fetcher::start(root + "/apt");
  storeSandbox().lockDown();
  runCommand(Store::open(root), arguments, fetcher);
  std::cout.flush();
  if (!std::cout)
    throw Error(ExitCode::infrastructure, "write-failed", "standard output cannot be written", "");
  return 0;
}

}  // namespace
}  // namespace ktstr::cache

int main(int argc, char** argv) {
  ktstr::log::start("ktstr-cache");
  libbpf_set_print(nullptr);  // its complaints come back in our errors
  CLI::App app("Kernels that tests boot: get, list, check and remove them in the cache.", "ktstr kernel");
  ktstr::cache::Arguments arguments;
  ktstr::cache::defineCommands(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ktstr::ExitCode::usage);
  }
  try {
    return ktstr::cache::run(arguments);
  } catch (const ktstr::Error& error) {
    std::cerr << "ktstr kernel: " << error.what() << std::endl;
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::cerr << "ktstr kernel: " << error.what() << std::endl;
    return static_cast<int>(ktstr::ExitCode::infrastructure);
  }
}
