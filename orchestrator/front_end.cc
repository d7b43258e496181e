// `ktstr`: the front end that a person types. It finds the tool that does the work and becomes it.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "orchestrator/completions.h"
#include "orchestrator/serve_vmm.h"
#include "orchestrator/support.h"
#include "protocol/error.h"
#include "protocol/process.h"
#include "version.h"

namespace ktstr {
namespace {

struct Verb {
  const char* name;
  const char* tool;
  std::vector<std::string> words;  // put before the user's own
  const char* help;
};

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {
      {"run", "ktstr-orchestrator", {"run"}, "run one scenario on one kernel, topology and scheduler"},
      {"demo",
       "ktstr-orchestrator",
       {"demo"},
       "one scenario under EEVDF and sched_ext schedulers, side by side"},
      {"scenario", "ktstr-orchestrator", {"scenario"}, "list canned scenarios, show one, check a file"},
      {"work-type", "ktstr-orchestrator", {"work-type"}, "list what workers can do, and what that measures"},
      {"assertion",
       "ktstr-orchestrator",
       {"assertion"},
       "list what can be asserted, with units and defaults"},
      {"record", "ktstr-orchestrator", {"record"}, "list and show what earlier runs stored"},
      {"snapshot", "ktstr-orchestrator", {"snapshot"}, "dump the scheduler's state of a run or machine, now"},
      {"probe", "ktstr-orchestrator", {"probe"}, "say what /dev/kvm is good for here"},
      {"kernel", "ktstr-cache", {}, "get, list, locate, remove and verify kernels"},
      {"scheduler", "ktstr-kbuild", {}, "build the kernel tree's sched_ext schedulers"},
      {"monitor", "ktstr-monitor", {}, "watch a running VM, a core or a RAM file from outside"},
  };
  return all;
}

void printHelp(FILE* out) {
  fputs(
      "ktstr tests Linux process schedulers on real kernels in VMs of any topology.\n\n"
      "usage: ktstr COMMAND [ARGUMENTS]      ktstr COMMAND --help tells more\n\n",
      out);
  for (const Verb& verb : verbs()) fprintf(out, "  %-12s %s\n", verb.name, verb.help);
  fputs(
      "  support      say what the monitor can see of a kernel\n"
      "  serve        start a VMM that stands by on sockets, for other users to use\n"
      "  completions  print a completion script for bash, zsh or fish\n"
      "  version      print the version\n\n"
      "examples:\n"
      "  ktstr demo\n"
      "  ktstr run tests/scenarios/demo.json --kernel debian:7.3 --topology 1n2l2c2t\n"
      "  ktstr run tests/scenarios/demo.json --topology 1n2l2c2t --scheduler scx_simple -- -v\n"
      "  ktstr run cpuset_resize --topology 1n1l4c1t\n"
      "  ktstr kernel get debian:6.18 && ktstr kernel list\n\n"
      "exit codes: 0 pass, 1 fail, 2 usage, 3 inconclusive, 4 infrastructure, 5 skipped\n",
      out);
}

[[noreturn]] void become(const Verb& verb, int argc, char** argv) {
  const std::string path = toolPath(verb.tool);
  std::vector<std::string> words = {verb.tool};
  words.insert(words.end(), verb.words.begin(), verb.words.end());
  for (int i = 2; i < argc; i++) words.emplace_back(argv[i]);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execv(path.c_str(), pointers.data());
  throw errnoError("spawn-failed", "execute " + path);
}

int run(int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  if (word.empty() || word == "help" || word == "--help" || word == "-h") {
    printHelp(word.empty() ? stderr : stdout);
    return static_cast<int>(word.empty() ? ExitCode::usage : ExitCode::pass);
  }
  if (word == "version" || word == "--version") {
    puts("ktstr " KTSTR_VERSION);
    return 0;
  }
  if (word == "completions") {
    fputs(completionScript(argc > 2 ? argv[2] : "").c_str(), stdout);
    return 0;
  }
  if (word == "support") return showSupport(argc - 1, argv + 1);
  if (word == "serve") return serveVmm(argc - 1, argv + 1);
  for (const Verb& verb : verbs()) {
    if (word == verb.name) become(verb, argc, argv);
  }
  throw Error(ExitCode::usage, "unknown-command", "ktstr has no command \"" + word + "\"",
              "ktstr help lists them");
}

}  // namespace
}  // namespace ktstr

int main(int argc, char** argv) {
  try {
    return ktstr::run(argc, argv);
  } catch (const ktstr::Error& error) {
    fprintf(stderr, "ktstr: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
