#include "guest/scenario/catalog.h"

#include <algorithm>

#include "guest/scenario/catalog/families.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

say::Hold Shape::settled(double ofDuration) const {
  return say::fixedMs(settleMs + static_cast<uint32_t>(durationMs * ofDuration));
}

say::Cgroup Shape::plain(const std::string& name, const say::Cpuset& cpuset) const {
  return say::Cgroup(name).cpuset(cpuset).work(say::spinWait(workers));
}

const std::vector<CannedScenario>& cannedScenarios() {
  static const std::vector<CannedScenario> all = [] {
    std::vector<CannedScenario> list;
    for (const auto& family :
         {catalog::basic, catalog::cpuset, catalog::dynamic, catalog::stress, catalog::interaction,
          catalog::affinity, catalog::nested, catalog::performance}) {
      const auto scenarios = family();
      list.insert(list.end(), scenarios.begin(), scenarios.end());
    }
    return list;
  }();
  return all;
}

const CannedScenario* findCanned(std::string_view name) {
  const auto& all = cannedScenarios();
  const auto found =
      std::find_if(all.begin(), all.end(), [name](const auto& canned) { return canned.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::optional<std::string> whyNot(const CannedScenario& canned, const Topology& topology) {
  uint32_t nodes = 0;
  for (uint32_t node = 0; node < topology.nodes; ++node) nodes += topology.memoryOnly(node) ? 0 : 1;
  const struct {
    uint32_t needed, there;
    const char* what;
  } needs[] = {{canned.cpus, topology.vcpus(), "CPUs"},
               {canned.llcs, topology.llcs, "LLCs"},
               {canned.nodes, nodes, "NUMA nodes with CPUs"}};
  for (const auto& need : needs) {
    if (need.there >= need.needed) continue;
    return text("needs ", need.needed, ' ', need.what, "; the topology ", topology.toString(), " has ",
                need.there);
  }
  return std::nullopt;
}

void writeCanned(const CannedScenario& canned, const Shape& shape, rpc::Scenario::Builder to) {
  if (const auto why = whyNot(canned, shape.topology)) {
    throw Error(ExitCode::usage, "scenario-does-not-fit", text(canned.name, ' ', *why),
                "give a larger --topology; `ktstr scenario list --topology T` says which fit");
  }
  say::Scenario scenario(canned.name, canned.description);
  scenario.durationMs(shape.durationMs);
  canned.fill(shape, scenario);
  scenario.write(to);
}

}  // namespace ktstr
