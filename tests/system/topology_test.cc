// Machines of many shapes under TCG: what their guests see is what was declared.
#include <gtest/gtest.h>

#include "tests/system/harness.h"
#include "tests/system/topology_expectations.h"

namespace ktstr::testing {
namespace {

class TopologyOnTcg : public ::testing::TestWithParam<std::string> {};

TEST_P(TopologyOnTcg, IsWhatTheGuestSees) {
  KTSTR_NEED_KERNEL("debian:7.3");
  expectGuestSees(GetParam(), "tcg");
}

INSTANTIATE_TEST_SUITE_P(Proven, TopologyOnTcg, ::testing::ValuesIn(provenTopologies),
                         [](const auto& test) { return nameOfTopology(test.param); });

}  // namespace
}  // namespace ktstr::testing
