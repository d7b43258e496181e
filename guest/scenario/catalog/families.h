// The families of the catalogue, one file each.
#pragma once

#include <vector>

#include "guest/scenario/catalog.h"

namespace ktstr::catalog {

std::vector<CannedScenario> basic();
std::vector<CannedScenario> cpuset();
std::vector<CannedScenario> dynamic();
std::vector<CannedScenario> stress();
std::vector<CannedScenario> interaction();
std::vector<CannedScenario> affinity();
std::vector<CannedScenario> nested();
std::vector<CannedScenario> performance();

}  // namespace ktstr::catalog
