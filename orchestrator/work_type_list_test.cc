#include "orchestrator/work_type_list.h"

#include <capnp/schema.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

TEST(WorkTypeList, hasEveryTypeWithTheSchemasDefaults) {
  std::istringstream lines(workTypeJsonLines());
  size_t count = 0;
  for (std::string line; std::getline(lines, line); count++) {
    const auto type = nlohmann::json::parse(line);
    EXPECT_THAT(workTypeTable(), HasSubstr(type["name"].get<std::string>()));
    if (type["name"] == "bursty") {
      EXPECT_EQ(type["parameters"], nlohmann::json::parse(R"({"burstUs":50000,"sleepUs":100000})"));
    }
    if (type["name"] == "thunderingHerd") {
      EXPECT_EQ(type["groupSize"], 8);
    }
    if (type["name"] == "priorityInversion") {
      EXPECT_EQ(type["parameters"]["piMode"], "plain");
    }
  }
  EXPECT_EQ(count, capnp::Schema::from<rpc::WorkType>().getUnionFields().size());
}

TEST(WorkTypeList, isATableForPeople) {
  EXPECT_THAT(workTypeTable(), HasSubstr("futexFanOut  (groups of 5)\n"));
  EXPECT_THAT(workTypeTable(), HasSubstr("fanOut=4 spinIters=1024\n"));
  EXPECT_THAT(workTypeTable(), HasSubstr("wake latency positions 1..fanOut\n"));
}

}  // namespace
}  // namespace ktstr
