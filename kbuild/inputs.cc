#include "kbuild/inputs.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <filesystem>

#include "cache/kernel.h"
#include "cache/sha256.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

// First line of standard output. Standard error is the user's: progress, and errors that name themselves.
std::string runCacheTool(const std::vector<std::string>& arguments) {
  const Fd output = makeMemfd("output", 0);
  SpawnOptions options;
  options.executable = toolPath("ktstr-cache");
  options.arguments = arguments;
  options.standardOutput = output.get();
  const int status = spawn(options).wait();
  if (status != 0) {
    std::string line = "ktstr-cache";
    for (const auto& argument : arguments) line += " " + argument;
    const bool known = WIFEXITED(status) && WEXITSTATUS(status) <= static_cast<int>(ExitCode::skipped);
    throw Error(known ? static_cast<ExitCode>(WEXITSTATUS(status)) : ExitCode::infrastructure,
                "cache-tool-failed", text(line, ": ", describeWaitStatus(status)), "see its message above");
  }
  const std::string content = readAll(output.get(), size_t{1} << 20);
  return content.substr(0, content.find('\n'));
}

cache::Entry kernelEntry(const cache::Store& store, const std::string& kernel) {
  const auto spec = cache::parseKernelSpec(kernel);
  if (spec.source == cache::KernelSpec::Source::path) return cache::addKernelFile(store, spec);
  if (auto entry = cache::findKernelIfThere(store, spec)) return *entry;
  runCacheTool({"get", kernel});
  return cache::findKernel(store, kernel);
}

// The digest of a file of the store is known; any other is read.
std::string digestOf(const cache::Store& store, const std::string& path) {
  const fs::path file = fs::weakly_canonical(path);
  const fs::path sources = fs::weakly_canonical(store.root()) / "entries" / "source";
  if (file.parent_path().parent_path() == sources) {
    if (const auto entry = store.find("source", file.parent_path().filename().string())) {
      for (const auto each : entry->record().getFiles()) {
        if (file.filename() == each.getName().cStr()) return each.getSha256();
      }
    }
  }
  return cache::sha256OfFile(openFile(path, O_RDONLY).get());
}

void useKernel(const cache::Store& store, const std::string& kernel, Inputs& inputs) {
  const auto entry = kernelEntry(store, kernel);
  const auto facts = entry.record().getKernel();
  if (!entry.has("btf")) {
    throw Error(ExitCode::usage, "kernel-no-btf",
                text(kernel, " has no BTF, so no scheduler can be built for it"),
                "take a kernel with CONFIG_DEBUG_INFO_BTF, such as debian:7.3");
  }
  inputs.kernel = facts.getRelease().cStr();
  inputs.btf = entry.path("btf");
  inputs.btfId =
      facts.getBuildId().size() > 0 ? std::string(facts.getBuildId()) : digestOf(store, inputs.btf);
}

std::string sourceArchive(const std::string& kernel) {
  if (cache::parseKernelSpec(kernel).source == cache::KernelSpec::Source::path) {
    throw Error(ExitCode::usage, "source-unknown",
                text("nobody knows which source ", kernel, " was built from"),
                "give its source archive with --source");
  }
  return runCacheTool({"source", kernel});
}

}  // namespace

Inputs findInputs(const cache::Store& store, const InputRequest& request) {
  Inputs inputs;
  if (request.vmlinux.empty()) {
    useKernel(store, request.kernel, inputs);
  } else {
    inputs.kernel = inputs.btf = fs::absolute(request.vmlinux);
    inputs.btfId = cache::sha256OfFile(openFile(inputs.btf, O_RDONLY).get());
  }
  inputs.archive =
      request.archive.empty() ? sourceArchive(request.kernel) : fs::absolute(request.archive).string();
  inputs.archiveDigest = digestOf(store, inputs.archive);
  return inputs;
}

}  // namespace ktstr::kbuild
