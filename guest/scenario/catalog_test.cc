#include "guest/scenario/catalog.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "guest/scenario/validate.h"
#include "protocol/error.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

constexpr const char* topologies[] = {
    "1n1l1c1t", "1n1l2c1t", "1n2l2c1t", "1n3l5c1t", "2n4l2c1t", "4n8l4c2t", "2l512M,1l256M,0l256M,2c1t"};

TEST(Catalog, HasFiftyScenariosInEightFamilies) {
  std::set<std::string> names, families;
  for (const auto& canned : cannedScenarios()) {
    EXPECT_TRUE(names.insert(canned.name).second) << canned.name;
    families.insert(canned.family);
    EXPECT_EQ(findCanned(canned.name), &canned);
  }
  EXPECT_GE(names.size(), 50u);
  EXPECT_EQ(families.size(), 8u);
  EXPECT_EQ(findCanned("no_such"), nullptr);
}

// Whatever the shape of the machine: it is refused by name, or what comes out is a valid scenario of it, and
// the same after being printed and read.
TEST(Catalog, IsValidOnEveryTopologyThatItFits) {
  for (const char* name : topologies) {
    const Shape shape{parseTopology(name)};
    unsigned fitting = 0;
    for (const auto& canned : cannedScenarios()) {
      if (whyNot(canned, shape.topology)) continue;
      ++fitting;
      capnp::MallocMessageBuilder message, again;
      auto scenario = message.initRoot<rpc::Scenario>(), copy = again.initRoot<rpc::Scenario>();
      try {
        writeCanned(canned, shape, scenario);
        validateScenario(scenario.asReader(), shape.topology);
        fromJson(toJson(scenario.asReader()), copy);
      } catch (const Error& error) {
        ADD_FAILURE() << canned.name << " on " << name << ": " << error.what();
        continue;
      }
      EXPECT_STREQ(scenario.getName().cStr(), canned.name);
      EXPECT_EQ(toJson(copy.asReader()), toJson(scenario.asReader())) << canned.name;
    }
    EXPECT_GE(fitting, 20u) << name;
  }
}

TEST(Catalog, SaysWhatATopologyLacks) {
  capnp::MallocMessageBuilder message;
  try {
    writeCanned(*findCanned("cpuset_numa_swap"), {parseTopology("1n2l2c1t")},
                message.initRoot<rpc::Scenario>());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "scenario-does-not-fit");
    EXPECT_THAT(error.what(),
                HasSubstr("cpuset_numa_swap needs 2 NUMA nodes with CPUs; the topology 1n2l2c1t has 1"));
  }
  EXPECT_TRUE(whyNot(*findCanned("steady_llc"), parseTopology("1n1l8c1t")));
  EXPECT_FALSE(whyNot(*findCanned("steady_llc"), parseTopology("1n2l1c1t")));
  EXPECT_TRUE(whyNot(*findCanned("cpuset_numa_swap"), parseTopology("1l256M,0l256M,4c1t")));
}

TEST(Catalog, LastsAsLongAsItIsTold) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  writeCanned(*findCanned("cpuset_resize"),
              {.topology = parseTopology("1n1l4c1t"), .durationMs = 3000, .workers = 5}, scenario);
  EXPECT_EQ(scenario.getDurationMs(), 3000u);
  EXPECT_EQ(scenario.getSteps()[0].getHold().getFixedMs(), 1500u);
  EXPECT_EQ(scenario.getBackdrop().getCgroups()[0].getWork()[0].getWorkers(), 5u);
}

}  // namespace
}  // namespace ktstr
