#include "guest/scenario/affinity.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "protocol/error.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::SizeIs;

using Cpus = std::vector<uint32_t>;

const Topology topology = parseTopology("2n4l2c2t");  // 16 CPUs, 4 per LLC, 8 per node

Cpus range(uint32_t begin, uint32_t end) {
  Cpus cpus(end - begin);
  std::iota(cpus.begin(), cpus.end(), begin);
  return cpus;
}

std::vector<Cpus> resolved(const std::string& intent, const Cpus& allowed, uint32_t workers = 1,
                           const Topology& shape = topology) {
  capnp::MallocMessageBuilder message;
  auto affinity = message.initRoot<rpc::AffinityIntent>();
  fromJson(intent, affinity);
  return resolveAffinity(affinity, workers, allowed, shape);
}

std::string refusal(const std::string& intent, const Cpus& allowed, const Topology& shape = topology) {
  try {
    resolved(intent, allowed, 1, shape);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "scenario-invalid");
    return error.message();
  }
}

TEST(AffinityTest, FollowsTheSchema) {
  const Cpus all = range(0, 16);
  EXPECT_THAT(resolved("{}", all), SizeIs(0));
  EXPECT_THAT(resolved(R"({"exact":[5,4]})", all), ElementsAre(ElementsAre(4, 5)));
  EXPECT_THAT(resolved(R"({"singleCpu":null})", range(6, 9)), ElementsAre(ElementsAre(6)));
  EXPECT_THAT(resolved(R"({"crossCgroup":null})", range(6, 9)), ElementsAre(all));
  EXPECT_THAT(resolved(R"({"llcAligned":null})", range(2, 9)), ElementsAre(ElementsAre(4, 5, 6, 7)));
  EXPECT_THAT(resolved(R"({"llcAligned":null})", {3, 4}),
              ElementsAre(ElementsAre(3)));  // the first of equals
  EXPECT_THAT(resolved(R"({"smtSiblingPair":null})", range(3, 9)), ElementsAre(ElementsAre(4, 5)));
}

TEST(AffinityTest, DrawsTheSameRandomSubsetsEveryTime) {
  const std::string intent = R"({"randomSubset":{"count":3,"seed":5,"pool":[1,3,5,7,9,11,13,15]}})";
  const auto drawn = resolved(intent, range(0, 12), 8);
  ASSERT_THAT(drawn, SizeIs(8));
  EXPECT_EQ(drawn, resolved(intent, range(0, 12), 8));
  for (const Cpus& cpus : drawn) {
    EXPECT_THAT(cpus, SizeIs(3));
    EXPECT_THAT(cpus, IsSubsetOf({1, 3, 5, 7, 9, 11}));
    EXPECT_EQ(std::set<uint32_t>(cpus.begin(), cpus.end()).size(), 3U) << "drawn without repetition";
  }
  EXPECT_GT(std::set<Cpus>(drawn.begin(), drawn.end()).size(), 2U) << "workers differ";
  EXPECT_NE(drawn, resolved(R"({"randomSubset":{"count":3,"seed":6}})", range(0, 12), 8));
}

TEST(AffinityTest, RefusesWhatWouldBeEmpty) {
  EXPECT_THAT(refusal(R"({"exact":[]})", range(0, 16)), HasSubstr("exact: names no CPU"));
  EXPECT_THAT(refusal(R"({"exact":[16]})", range(0, 16)), HasSubstr("CPU 16 does not exist"));
  EXPECT_THAT(refusal(R"({"exact":[1,1]})", range(0, 16)), HasSubstr("CPU 1 is named twice"));
  EXPECT_THAT(refusal(R"({"exact":[3,4]})", range(0, 4)),
              HasSubstr("CPUs 3-4 are not inside the cgroup's 0-3"));
  EXPECT_THAT(refusal(R"({"randomSubset":{"count":0}})", range(0, 4)),
              HasSubstr("0 is not from 1 to the 4 CPUs 0-3"));
  EXPECT_THAT(refusal(R"({"randomSubset":{"count":5}})", range(0, 4)), HasSubstr("randomSubset.count: 5"));
  EXPECT_THAT(refusal(R"({"randomSubset":{"count":1,"pool":[9]}})", range(0, 4)),
              HasSubstr("no CPU of 9 is inside the cgroup's 0-3"));
  EXPECT_THAT(refusal(R"({"smtSiblingPair":null})", {1, 2}),
              HasSubstr("no core of 2n4l2c2t has two threads"));
  EXPECT_THAT(refusal(R"({"smtSiblingPair":null})", range(0, 4), parseTopology("1n1l4c1t")),
              HasSubstr("no core of 1n1l4c1t"));
}

TEST(AffinityTest, KnowsTheCpusOfANode) {
  EXPECT_EQ(resolveNode(1, range(6, 12), topology), range(8, 12));
  EXPECT_THROW(resolveNode(2, range(0, 16), topology), Error);
  EXPECT_THROW(resolveNode(-2, range(0, 16), topology), Error);
  EXPECT_THROW(resolveNode(1, range(0, 4), topology), Error);
}

}  // namespace
}  // namespace ktstr
