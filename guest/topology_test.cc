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
  expectInvalid("1n1l1c1t ", "goes on");
  expectInvalid("0n1l1c1t", "at least 1");
  expectInvalid("1n1l1c0t", "at least 1");
  expectInvalid("2n3l1c1t", "evenly");
  expectInvalid("1n513l1c1t", "512 vCPUs");
  expectInvalid("1n65536l65536c1t", "512 vCPUs");
  expectInvalid("65n65l1c1t", "64 NUMA nodes");
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
