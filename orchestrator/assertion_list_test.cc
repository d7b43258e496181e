#include "orchestrator/assertion_list.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "orchestrator/assertions.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

TEST(AssertionList, hasEveryOneWithItsDefault) {
  std::istringstream lines(assertionJsonLines());
  size_t count = 0;
  for (std::string line; std::getline(lines, line); count++) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_EQ(row["name"], assertionTable()[count].name);
    if (row["name"] == "maxGapMs") {
      EXPECT_EQ(row["default"], 2000);
      EXPECT_EQ(row["unit"], "ms");
    }
    if (row["name"] == "isolation") {
      EXPECT_EQ(row["default"], true);
    }
    if (row["name"] == "minPageLocality") {
      EXPECT_TRUE(row["default"].is_null());
      EXPECT_EQ(row["most"], 1);
    }
    EXPECT_THAT(assertionText(), HasSubstr(row["compares"].get<std::string>()));
  }
  EXPECT_EQ(count, assertionTable().size());
  EXPECT_THAT(assertionText(), HasSubstr("default  2000 ms\n"));
  EXPECT_THAT(assertionText(), HasSubstr("default  none\n"));
}

}  // namespace
}  // namespace ktstr
