#include "guest/scenario/validate.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "guest/scenario/checks.h"
#include "guest/scenario/snapshot_times.h"
#include "guest/scenario/walk.h"
#include "guest/scenario/work_types.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

void checkScenarioName(std::string_view name) {
  const auto isGood = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), isGood)) return;
  const std::string shown =
      name.size() <= 80 ? text('"', name, '"') : text("a name of ", name.size(), " bytes");
  refuse("name", text(shown, " is not 1-64 of the characters a-z 0-9 _ -"));
}

// As the kernel writes it; empty stays empty.
void copyCpus(const std::vector<Cpus>& from, capnp::List<capnp::Text>::Builder to) {
  for (unsigned i = 0; i < to.size(); i++) to.set(i, cpuList(from[i]));
}

}  // namespace

void validateScenario(rpc::Scenario::Reader scenario, const Topology& topology,
                      std::optional<bool> underScheduler) {
  checkScenarioName(view(scenario.getName()));
  checkMilliseconds("durationMs", scenario.getDurationMs());
  if (scenario.getSteps().size() == 0) refuse("steps", "no step; at least one");
  ScenarioWalk(scenario, topology, underScheduler).run();
  checkSnapshots(scenario);
}

void resolvePlacement(rpc::Scenario::Reader scenario, const Topology& topology,
                      rpc::GuestOrders::Builder orders) {
  ScenarioWalk walk(scenario, topology, std::nullopt);
  walk.run();
  auto cpusets = orders.initCpusets(static_cast<unsigned>(walk.cpusets().size()));
  for (unsigned i = 0; i < cpusets.size(); i++) {
    const CpusetUse& use = walk.cpusets()[i];
    cpusets[i].setStep(use.step);
    cpusets[i].setCgroup(use.cgroup);
    cpusets[i].setOp(use.op);
    cpusets[i].setCpus(kj::arrayPtr(use.cpus.data(), use.cpus.size()));
  }
  auto affinities = orders.initAffinities(static_cast<unsigned>(walk.affinities().size()));
  for (unsigned i = 0; i < affinities.size(); i++) {
    const AffinityUse& use = walk.affinities()[i];
    affinities[i].setStep(use.step);
    affinities[i].setCgroup(use.cgroup);
    affinities[i].setWork(use.work);
    affinities[i].setOp(use.op);
    copyCpus(use.cpus, affinities[i].initCpus(static_cast<unsigned>(use.cpus.size())));
  }
}

}  // namespace ktstr
