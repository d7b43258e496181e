// The helper processes of a run, with their sockets.
#include <tuple>

#include "orchestrator/session.h"
#include "orchestrator/tool.h"
#include "protocol/text.h"

namespace ktstr {

Helpers startHelpers(Fd observe, const std::string& buildId, const GuestOptions& guest,
                     uint32_t samplePeriodMs) {
  constexpr int observeNumber = 3, analysisNumber = 4, grantsNumber = 5;
  Helpers helpers;
  auto [monitorAnalysis, cacheAnalysis] = makeSocketPair();
  SpawnOptions cache;
  cache.executable = toolPath("ktstr-cache");
  cache.arguments = {"serve", "--fd", text(analysisNumber)};
  cache.descriptors = {{cacheAnalysis.get(), analysisNumber}};
  helpers.analysis = spawn(cache);

  auto [read, write] = makePipe();
  SpawnOptions monitor;
  monitor.executable = toolPath("ktstr-monitor");
  monitor.arguments = {"--vm-fd", text(observeNumber), "--analysis-fd",     text(analysisNumber), "--format",
                       "capnp",   "--period-ms",       text(samplePeriodMs)};
  if (!buildId.empty()) monitor.arguments.insert(monitor.arguments.end(), {"--build-id", buildId});
  monitor.descriptors = {{observe.get(), observeNumber}, {monitorAnalysis.get(), analysisNumber}};
  Fd itsGrants;
  std::tie(helpers.grants, itsGrants) = makeSocketPair();
  monitor.arguments.insert(monitor.arguments.end(), {"--grants-fd", text(grantsNumber)});
  monitor.descriptors.emplace_back(itsGrants.get(), grantsNumber);
  for (const auto& word : guest.mapWrites)
    monitor.arguments.insert(monitor.arguments.end(), {"--map-write", word});
  if (guest.watchdogMs != 0)
    monitor.arguments.insert(monitor.arguments.end(), {"--watchdog-ms", text(guest.watchdogMs)});
  helpers.writes = {guest.mapWrites, guest.watchdogMs};
  monitor.standardOutput = write.get();
  helpers.monitor = spawn(monitor);
  helpers.monitorOutput = std::move(read);
  return helpers;
}

}  // namespace ktstr
