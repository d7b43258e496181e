#include "orchestrator/resolve.h"

#include <capnp/serialize.h>
#include <unistd.h>

#include "guest/scenario/catalog.h"
#include "guest/scenario/validate.h"
#include "orchestrator/assertions.h"
#include "orchestrator/guest_options.h"
#include "orchestrator/tool.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

void finish(const RunOptions& options, rpc::Scenario::Builder scenario, std::optional<bool> underScheduler) {
  if (options.snapshots) scenario.setSnapshots(*options.snapshots);
  validateScenario(scenario, options.topology, underScheduler);
  checkAssertions(scenario, underScheduler, options.besideEevdf);
}

}  // namespace

void loadScenario(const RunOptions& options, rpc::Scenario::Builder scenario,
                  std::optional<bool> underScheduler) {
  const CannedScenario* canned =
      access(options.scenario.c_str(), F_OK) == 0 ? nullptr : findCanned(options.scenario);
  if (canned != nullptr) {
    Shape shape{.topology = options.topology};
    if (options.durationMs) shape.durationMs = *options.durationMs;
    writeCanned(*canned, shape, scenario);
    return finish(options, scenario, underScheduler);
  }
  std::string json;
  try {
    json = options.scenario == "-" ? readAll(STDIN_FILENO, scenarioLimit)
                                   : readFile(options.scenario, scenarioLimit);
  } catch (const Error& error) {
    throw Error(ExitCode::usage, "scenario-unreadable", error.message(),
                "name a scenario file, - for standard input, or one of `ktstr scenario list`");
  }
  fromJson(json, scenario);
  if (options.durationMs) scenario.setDurationMs(*options.durationMs);
  finish(options, scenario, underScheduler);
}

bool wantsBaseline(const RunOptions& options, rpc::Scenario::Reader scenario) {
  return options.besideEevdf || hasRelative(scenario);
}

cache::Entry resolveKernel(const cache::Store& store, const std::string& spec) {
  const cache::KernelSpec parsed = cache::parseKernelSpec(spec);
  const auto corrupt = [](const Error& error) { log::warn(error.what()); };
  if (auto entry = cache::findKernelIfThere(store, parsed, corrupt)) return *entry;
  toolOutput("ktstr-cache", {"get", spec}, "kernel-unavailable");
  return cache::findKernel(store, spec);
}

CachedBase resolveImage(const cache::Store& store, const Programs& programs, const GuestOptions& options) {
  ImageRequest request;
  request.agent = toolPath("ktstr-guest");
  request.busybox = findProgram("busybox").value_or("");
  request.files = imageFiles(programs);
  for (const ImageFile& file : includeFiles(options)) request.files.push_back(file);
  return baseImage(store, request);
}

namespace {

template <typename List>
void copyTexts(const List& from, capnp::List<capnp::Text>::Builder to) {
  for (uint i = 0; i < to.size(); i++) to.set(i, from[i]);
}

void fillSchedulers(const RunOptions& options, rpc::Scenario::Reader scenario, const Programs& programs,
                    rpc::GuestOrders::Builder orders) {
  if (!programs.underTest.hostPath.empty()) {
    auto it = orders.initScheduler();
    it.setPath(programs.underTest.guestPath);
    it.setAttachTimeoutMs(options.attachTimeoutMs);
    copyTexts(options.schedulerArgs, it.initArgs(static_cast<uint>(options.schedulerArgs.size())));
    copyTexts(options.schedulerEnv, it.initEnv(static_cast<uint>(options.schedulerEnv.size())));
  }
  const auto named = scenario.getSchedulers();
  auto list = orders.initSchedulers(named.size());
  for (uint i = 0; i < list.size(); i++) {
    list[i].setName(named[i].getName());
    list[i].setPath(programs.named[i].guestPath);
    list[i].setAttachTimeoutMs(options.attachTimeoutMs);
    copyTexts(named[i].getArgs(), list[i].initArgs(named[i].getArgs().size()));
  }
}

}  // namespace

kj::Array<capnp::word> makeOrders(const RunOptions& options, rpc::Scenario::Reader scenario,
                                  const Programs& programs, const std::string& runId) {
  capnp::MallocMessageBuilder message;
  auto orders = message.initRoot<rpc::GuestOrders>();
  orders.setScenario(scenario);
  resolvePlacement(scenario, options.topology, orders);
  orders.setTopology(options.topology.toString());
  orders.setRunId(runId);
  orders.setBaseline(wantsBaseline(options, scenario));
  fillSchedulers(options, scenario, programs, orders);
  writeGuestOptions(options.guest, orders);
  orders.setHostWrites(!options.guest.mapWrites.empty() || options.guest.watchdogMs != 0);
  return capnp::messageToFlatArray(message);
}

}  // namespace ktstr
