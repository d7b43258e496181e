#include "orchestrator/scenario_list.h"

#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "guest/scenario/catalog.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> lines(ScenarioListFormat format, const std::optional<Topology>& topology = {}) {
  std::istringstream text(scenarioList(format, topology));
  std::vector<std::string> all;
  for (std::string line; std::getline(text, line);) all.push_back(line);
  return all;
}

TEST(ScenarioList, namesAreThoseOfTheCatalogueOneALine) {
  std::vector<std::string> names;
  for (const auto& canned : cannedScenarios()) names.push_back(canned.name);
  EXPECT_EQ(lines(ScenarioListFormat::names), names);
}

TEST(ScenarioList, jsonLinesSayWhatEachNeedsAndWhetherItFits) {
  const auto plain = lines(ScenarioListFormat::jsonl),
             fitted = lines(ScenarioListFormat::jsonl, parseTopology("1n2l2c1t"));
  ASSERT_EQ(plain.size(), cannedScenarios().size());
  ASSERT_EQ(fitted.size(), plain.size());
  for (size_t i = 0; i < plain.size(); i++) {
    auto line = nlohmann::json::parse(fitted[i]);
    const bool fits = line["fits"];
    line.erase("fits");
    EXPECT_EQ(line, nlohmann::json::parse(plain[i]));
    EXPECT_EQ(fits, line["needs"]["nodes"] < 2) << line;
    if (line["name"] == "cpuset_numa_swap") {
      EXPECT_EQ(line["family"], "cpuset");
      EXPECT_EQ(line["needs"], nlohmann::json::parse(R"({"cpus":2,"llcs":1,"nodes":2})"));
      EXPECT_EQ(line["description"], "two cgroups change NUMA nodes");
    }
  }
}

TEST(ScenarioList, isForPeopleByFamilyWithNeedsOrTheReasonAgainstIt) {
  const std::string plain = scenarioList(ScenarioListFormat::human, {});
  EXPECT_THAT(plain, StartsWith("basic\n  steady "));
  EXPECT_THAT(plain, HasSubstr("\n\ncpuset\n  cpuset_apply_midrun "));
  EXPECT_THAT(plain, HasSubstr("two cgroups change NUMA nodes  (2 CPUs, 2 NUMA nodes)\n"));
  const std::string fitted = scenarioList(ScenarioListFormat::human, parseTopology("1n2l2c1t"));
  EXPECT_THAT(fitted, HasSubstr("two cgroups change NUMA nodes  [needs 2 NUMA nodes with CPUs; the topology "
                                "1n2l2c1t has 1]\n"));
  EXPECT_THAT(fitted, Not(HasSubstr("(2 CPUs")));
}

}  // namespace
}  // namespace ktstr
