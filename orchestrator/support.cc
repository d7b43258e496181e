#include "orchestrator/support.h"

#include <capnp/message.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "cache/kernel.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/record.capnp.h"

namespace ktstr {
namespace {

// Where the run's record is kept as long as it is of use.
class StateDirectory {
 public:
  StateDirectory() {
    std::string path = std::filesystem::temp_directory_path() / "ktstr-support-XXXXXX";
    if (!mkdtemp(path.data())) throw errnoError("open-failed", "make a directory in " + path);
    path_ = path;
    setenv("KTSTR_STATE_DIR", path.c_str(), 1);
  }
  ~StateDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;

 private:
  std::filesystem::path path_;
};

// The path of the RAM that a run leaves.
std::string ramOf(const std::string& kernel, const std::string& accelerator) {
  const auto [json, status] =
      runTool("ktstr-orchestrator",
              {"run", "steady", "--kernel", kernel, "--topology", "1n1l2c1t", "--accel", accelerator,
               "--duration", "300ms", "--keep", "--format", "jsonl"},
              size_t{64} << 20);
  const auto failed = [&, status = status](const std::string& why) {
    return Error(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? static_cast<ExitCode>(WEXITSTATUS(status))
                                                               : ExitCode::infrastructure,
                 "run-failed", kernel + ": " + why, "its own message above says why");
  };
  if (json.empty()) throw failed("no record; " + describeWaitStatus(status));
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  fromJson(json, record);
  std::string ram = std::string(record.asReader().getDirectory().cStr()) + "/ram.bin";
  if (access(ram.c_str(), R_OK) != 0) throw failed("the run left no RAM");
  return ram;
}

}  // namespace

int showSupport(int argc, char** argv) {
  std::string kernel = "debian:7.3", accelerator = "auto", format = "text";
  CLI::App app("Boots a kernel and says what the monitor can see of it, where, and what is missing.",
               "ktstr support");
  app.add_option("--kernel", kernel, "debian:VERSION[:FLAVOUR], or a vmlinuz or vmlinux")
      ->capture_default_str();
  app.add_option("--accel", accelerator, "What runs the machine")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  app.add_option("--format", format, "text or jsonl")
      ->check(CLI::IsMember({"text", "jsonl"}))
      ->capture_default_str();
  app.footer(
      "Of a machine that runs already: ktstr monitor support --vm SOCK.\nEXAMPLE: ktstr support --kernel "
      "debian:6.16");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  cache::parseKernelSpec(kernel);
  const StateDirectory state;
  const auto [output, status] =
      runTool("ktstr-monitor", {"support", "--ram", ramOf(kernel, accelerator), "--format", format});
  writeAll(STDOUT_FILENO, output);
  return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::infrastructure);
}

}  // namespace ktstr
