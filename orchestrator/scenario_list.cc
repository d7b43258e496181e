#include "orchestrator/scenario_list.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "guest/scenario/catalog.h"

namespace ktstr {
namespace {

std::string needsOf(const CannedScenario& canned) {
  std::string needs;
  const auto add = [&needs](uint32_t count, const char* what) {
    if (count > 1) needs += (needs.empty() ? "" : ", ") + std::to_string(count) + what;
  };
  add(canned.cpus, " CPUs");
  add(canned.llcs, " LLCs");
  add(canned.nodes, " NUMA nodes");
  return needs;
}

std::string line(const CannedScenario& canned, const std::optional<Topology>& topology) {
  nlohmann::ordered_json out{
      {"family", canned.family},
      {"name", canned.name},
      {"description", canned.description},
      {"needs", {{"cpus", canned.cpus}, {"llcs", canned.llcs}, {"nodes", canned.nodes}}}};
  if (topology) out["fits"] = !whyNot(canned, *topology);
  return out.dump();
}

std::string row(const CannedScenario& canned, const std::optional<Topology>& topology, size_t width) {
  std::string name = canned.name;
  name.resize(std::max(width, name.size()), ' ');
  const auto why = topology ? whyNot(canned, *topology) : std::nullopt;
  const std::string needs = needsOf(canned);
  return "  " + name + "  " + canned.description +
         (why                         ? "  [" + *why + "]"
          : needs.empty() || topology ? ""
                                      : "  (" + needs + ")");
}

}  // namespace

std::string scenarioList(ScenarioListFormat format, const std::optional<Topology>& topology) {
  size_t width = 0;
  for (const auto& canned : cannedScenarios()) width = std::max(width, std::string(canned.name).size());
  std::ostringstream out;
  std::string family;
  for (const auto& canned : cannedScenarios()) {
    if (format == ScenarioListFormat::human && family != canned.family) {
      out << (family.empty() ? "" : "\n") << canned.family << '\n';
      family = canned.family;
    }
    out << (format == ScenarioListFormat::jsonl   ? line(canned, topology)
            : format == ScenarioListFormat::names ? canned.name
                                                  : row(canned, topology, width))
        << '\n';
  }
  return out.str();
}

}  // namespace ktstr
