// `ktstr scenario list`: the canned scenarios, as people and as programs read it.
#pragma once

#include <optional>
#include <string>

#include "guest/topology.h"

namespace ktstr {

enum class ScenarioListFormat { human, jsonl, names };

// Family by family: name, what it is, and what a topology must have. With `topology` also whether it fits.
std::string scenarioList(ScenarioListFormat format, const std::optional<Topology>& topology);

}  // namespace ktstr
