#include "orchestrator/resolve.h"

#include <capnp/serialize.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/scenario/validate.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t scenarioLimit = size_t{16} << 20;

std::string baseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// The standard output of a tool of ours, or an Error `failure` with the tool's own exit code.
std::string outputOf(const std::string& tool, std::vector<std::string> arguments,
                     const std::string& failure) {
  auto [output, status] = runTool(tool, std::move(arguments));
  if (status == 0) return output;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ExitCode::infrastructure);
  throw Error(static_cast<ExitCode>(code), failure, tool + " ended with " + describeWaitStatus(status),
              "its own message above says why");
}

}  // namespace

void loadScenario(const RunOptions& options, rpc::Scenario::Builder scenario) {
  std::string json;
  try {
    json = options.scenario == "-" ? readAll(STDIN_FILENO, scenarioLimit)
                                   : readFile(options.scenario, scenarioLimit);
  } catch (const Error& error) {
    throw Error(ExitCode::usage, "scenario-unreadable", error.message(),
                "name a scenario file, or - for standard input");
  }
  fromJson(json, scenario);
  if (options.durationMs) scenario.setDurationMs(*options.durationMs);
  validateScenario(scenario.asReader(), options.topology);
}

cache::Entry resolveKernel(const cache::Store& store, const std::string& spec) {
  const cache::KernelSpec parsed = cache::parseKernelSpec(spec);
  const auto corrupt = [](const Error& error) { log::warn(error.what()); };
  if (auto entry = cache::findKernelIfThere(store, parsed, corrupt)) return *entry;
  outputOf("ktstr-cache", {"get", spec}, "kernel-unavailable");
  return cache::findKernel(store, spec);
}

Scheduler resolveScheduler(const std::string& wanted, const cache::Entry& kernel) {
  if (wanted.empty() || wanted == "eevdf") return {"eevdf", "", ""};
  const auto facts = kernel.record().getKernel();
  if (!facts.getHasSchedExt()) {
    throw Error(
        ExitCode::usage, "sched-ext-unsupported",
        text("kernel ", facts.getRelease().cStr(), " has no sched_ext, so ", wanted, " cannot be loaded"),
        "run without --scheduler to test EEVDF, or choose a kernel from 6.16 on, for example debian:7.3");
  }
  std::string path = wanted;  // with a slash: taken as it is; building the image says what is wrong with it
  if (wanted.find('/') == std::string::npos) {
    if (auto found = findProgram(wanted)) {
      path = *found;
    } else {
      path = outputOf("ktstr-kbuild", {"path", wanted}, "scheduler-not-found");
      while (!path.empty() && path.back() == '\n') path.pop_back();
    }
  }
  return {baseName(path), path, "/ktstr/bin/" + baseName(path)};
}

CachedBase resolveImage(const cache::Store& store, const Scheduler& scheduler) {
  ImageRequest request;
  request.agent = toolPath("ktstr-guest");
  request.busybox = findProgram("busybox").value_or("");
  if (!scheduler.hostPath.empty()) request.files.push_back({scheduler.guestPath, scheduler.hostPath});
  return baseImage(store, request);
}

kj::Array<capnp::word> makeOrders(const RunOptions& options, rpc::Scenario::Reader scenario,
                                  const Scheduler& scheduler, const std::string& runId) {
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<rpc::GuestOrders>();
  orders.setScenario(scenario);
  resolveCpusets(scenario, options.topology, orders);
  orders.setTopology(options.topology.toString());
  orders.setRunId(runId);
  if (!scheduler.hostPath.empty()) {
    auto it = orders.initScheduler();
    it.setPath(scheduler.guestPath);
    it.setAttachTimeoutMs(options.attachTimeoutMs);
    auto arguments = it.initArgs(static_cast<uint>(options.schedulerArgs.size()));
    for (uint i = 0; i < arguments.size(); i++) arguments.set(i, options.schedulerArgs[i]);
    auto environment = it.initEnv(static_cast<uint>(options.schedulerEnv.size()));
    for (uint i = 0; i < environment.size(); i++) environment.set(i, options.schedulerEnv[i]);
  }
  return capnp::messageToFlatArray(message);
}

}  // namespace ktstr
