#include "guest/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Topology, parsesAndPrints) {
  const Topology topology = parseTopology("2n4l3c2t");
  EXPECT_EQ(topology, (Topology{2, 4, 3, 2}));
  EXPECT_EQ(topology.vcpus(), 24u);
  EXPECT_EQ(topology.toString(), "2n4l3c2t");
}

TEST(Topology, numbersThreadsFastestThenCoresThenLlcs) {
  const Topology topology = parseTopology("2n4l2c2t");
  EXPECT_THAT(topology.cpusOfLlc(1), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(topology.cpusOfNode(1), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_EQ(topology.llcOf(7), 1u);
  EXPECT_EQ(topology.nodeOfLlc(1), 0u);
  EXPECT_EQ(topology.nodeOf(8), 1u);
}

TEST(Topology, packsApicIdsInPowersOfTwo) {
  const Topology even = parseTopology("1n2l2c2t");
  for (uint32_t cpu = 0; cpu < 8; cpu++) EXPECT_EQ(even.apicId(cpu), cpu);
  const Topology odd = parseTopology("1n2l3c1t");  // two bits for three cores
  EXPECT_EQ(odd.apicId(2), 2u);
  EXPECT_EQ(odd.apicId(3), 4u);
  const Topology flat = parseTopology("1n4l1c1t");
  EXPECT_EQ(flat.apicId(3), 3u);
  EXPECT_EQ(parseTopology("1n63l5c1t").apicId(5 * 62), 62u << 3);
}

void expectInvalid(const char* text, const char* reason) {
  try {
    parseTopology(text);
    ADD_FAILURE() << text << " was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "topology-invalid");
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.message(), HasSubstr(reason));
    EXPECT_THAT(error.hint(), HasSubstr("1n2l2c2t"));
  }
}

TEST(Topology, refusesWhatIsNoMachine) {
  expectInvalid("", "form");
  expectInvalid("4", "form");
  expectInvalid("1n2l2c", "form");
  expectInvalid("1l1n1c1t", "form");
  expectInvalid("-1n1l1c1t", "form");
  expectInvalid("01n1l1c1t", "form");
  expectInvalid("99999999999n1l1c1t", "form");
  expectInvalid("1n1l1c1t ", "form");
  expectInvalid("0n1l1c1t", "at least 1");
  expectInvalid("1n1l1c0t", "at least 1");
  expectInvalid("2n3l1c1t", "evenly");
  expectInvalid("1n513l1c1t", "512 vCPUs");
  expectInvalid("1n65536l65536c1t", "512 vCPUs");
  expectInvalid("65n65l1c1t", "64 NUMA nodes");
}

TEST(Topology, takesNodesOneByOne) {
  const char* written = "2l512M,1l256M,0l128M,2c2t";
  const Topology topology = parseTopology(written);
  EXPECT_EQ(topology.toString(), written);
  EXPECT_EQ(topology, (Topology{3, 3, 2, 2, {{2, 512}, {1, 256}, {0, 128}}}));
  EXPECT_EQ(topology.vcpus(), 12u);
  EXPECT_EQ(topology.memoryMib(), 896u);
  EXPECT_EQ(parseTopology("2n2l1c1t").memoryMib(), std::nullopt);
  EXPECT_THAT(topology.cpusOfNode(0), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(topology.cpusOfNode(1), ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(topology.cpusOfNode(2), IsEmpty());
  EXPECT_FALSE(topology.memoryOnly(1));
  EXPECT_TRUE(topology.memoryOnly(2));
  EXPECT_EQ(topology.nodeOf(7), 0u);
  EXPECT_EQ(topology.nodeOf(8), 1u);
}

TEST(Topology, takesDistances) {
  for (const char* written :
       {"2n4l2c1t,0-1:32", "1l512M,1l256M,0l256M,1c1t,1-2:28,0-2:11", "2n2l1c1t,0-1:254"}) {
    EXPECT_EQ(parseTopology(written).toString(), written);
  }
  const Topology topology = parseTopology("1l512M,1l256M,0l256M,1c1t,1-2:19");
  EXPECT_EQ(topology.distance(0, 0), 10u);
  EXPECT_EQ(topology.distance(0, 1), 20u);
  EXPECT_EQ(topology.distance(1, 2), 19u);
  EXPECT_EQ(topology.distance(2, 1), 19u);
  EXPECT_EQ(topology.initiatorOf(0), 0u);
  EXPECT_EQ(topology.initiatorOf(2), 1u) << "the nearest";
  EXPECT_EQ(parseTopology("1l512M,1l256M,0l256M,1c1t").initiatorOf(2), 0u) << "the first of those as near";
}

TEST(Topology, refusesNodesAndDistancesThatCannotBe) {
  expectInvalid("1l256M", "after the nodes, CcTt");
  expectInvalid("1l256M,", "\"\" is not of the form");
  expectInvalid("1l256,1c1t", "\"1l256\" is not of the form NnLlCcTt or LlMM");
  expectInvalid("1l256M,1n1l1c1t", "\"1n1l1c1t\" is not of the form");
  expectInvalid("1c1t", "form");
  expectInvalid("1l256M,1c1t,1c1t", "A-B:D");
  expectInvalid("1n1l1c1t,1l256M", "A-B:D");
  expectInvalid("1l0M,1c1t", "node 0 has no memory");
  expectInvalid("1l256M,0l0M,1c1t", "node 1 has no memory");
  expectInvalid("1l256M,0l255M,1c1t", "node 1 has 255 MiB; memory is placed in units of 2 MiB");
  expectInvalid("0l256M,0l256M,1c1t", "there are no CPUs");
  expectInvalid("1l256M,0l256M,1l256M,1c1t", "node 2 has CPUs but comes after node 1, which has none");
  expectInvalid("1l256M,0c1t", "there are no CPUs");
  expectInvalid("4294967295l256M,4294967295l256M,1c1t", "512 vCPUs");
  expectInvalid("1l4294967294M,1l4M,1c1t", "more than 1048576");
  std::string many;
  for (int i = 0; i < 65; i++) many += "1l2M,";
  expectInvalid((many + "1c1t").c_str(), "64 NUMA nodes");
  expectInvalid("2n2l1c1t,0-2:20", "there is no node 2");
  expectInvalid("2n2l1c1t,1-0:20", "lower node first");
  expectInvalid("2n2l1c1t,1-1:10", "to itself is always 10");
  expectInvalid("2n2l1c1t,0-1:10", "from 11 to 254");
  expectInvalid("2n2l1c1t,0-1:255", "from 11 to 254");
  expectInvalid("2n2l1c1t,0-1:30,0-1:31", "given twice");
  expectInvalid("2n2l1c1t,0-1", "A-B:D");
}

TEST(CpuList, writesRanges) {
  EXPECT_EQ(cpuList({8, 0, 1, 3, 2, 2}), "0-3,8");
  EXPECT_EQ(cpuList({}), "");
  EXPECT_EQ(cpuList({5}), "5");
}

TEST(CpuList, readsWhatItWrites) {
  EXPECT_THAT(parseCpuList("0-3,8\n"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(parseCpuList(""), IsEmpty());
  EXPECT_THAT(parseCpuList("\n"), IsEmpty());
  for (const char* bad : {"a", "1-", "1,", ",1", "3-1", "1--2", "0-9999999999", "8192", "1 2"}) {
    EXPECT_THROW(parseCpuList(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace ktstr
