#include "orchestrator/host_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// `nodes` nodes with `llcs` LLCs in all, `cores` cores each, `threads` threads each; CPU numbers as Linux
// gives them: all first threads, then all second ones.
std::vector<HostCpu> host(uint32_t nodes, uint32_t llcs, uint32_t cores, uint32_t threads) {
  std::vector<HostCpu> cpus;
  const uint32_t all = llcs * cores;
  for (uint32_t thread = 0; thread < threads; ++thread) {
    for (uint32_t core = 0; core < all; ++core) {
      const uint32_t llc = core / cores;
      cpus.push_back({thread * all + core, core, llc * cores, llc / (llcs / nodes)});
    }
  }
  return cpus;
}

std::string refusal(const char* topology, const std::vector<HostCpu>& cpus) {
  try {
    planHost(parseTopology(topology), cpus);
    return "planned";
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(HostPlan, GivesEachLlcOneOfTheHosts) {
  const HostPlan plan = planHost(parseTopology("1n2l2c1t"), host(1, 3, 4, 1));
  EXPECT_THAT(plan.vcpus, ElementsAre(0, 1, 4, 5));
  EXPECT_THAT(plan.service, ElementsAre(2, 3, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(plan.nodes, ElementsAre(0));
}

TEST(HostPlan, PutsThreadsOfACoreOnOneCore) {
  const HostPlan plan = planHost(parseTopology("1n1l2c2t"), host(1, 1, 4, 2));
  EXPECT_THAT(plan.vcpus, ElementsAre(0, 4, 1, 5));
}

TEST(HostPlan, GivesCoresWithoutThreadsDifferentCores) {
  EXPECT_THAT(planHost(parseTopology("1n1l3c1t"), host(1, 1, 2, 2)).vcpus, ElementsAre(0, 1, 2));
}

TEST(HostPlan, PutsNodesOnNodes) {
  const HostPlan plan = planHost(parseTopology("2n4l1c1t"), host(2, 4, 2, 1));
  EXPECT_THAT(plan.vcpus, ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(plan.nodes, ElementsAre(0, 1));
  EXPECT_THAT(planHost(parseTopology("2n2l1c1t"), host(1, 2, 2, 1)).nodes, ElementsAre(0, 0));
}

TEST(HostPlan, LeavesTheLargeHostNodeToWhoNeedsIt) {
  std::vector<HostCpu> cpus = host(1, 3, 1, 1);                    // node 0 with three LLCs
  for (uint32_t cpu : {3u, 4u}) cpus.push_back({cpu, cpu, 3, 1});  // node 1 with one
  const HostPlan plan = planHost(parseTopology("1l256M,3l256M,1c1t"), cpus);
  EXPECT_THAT(plan.vcpus, ElementsAre(3, 0, 1, 2));
  EXPECT_THAT(plan.nodes, ElementsAre(1, 0));
  EXPECT_THAT(planHost(parseTopology("2n2l1c1t"), cpus).nodes, ElementsAre(1, 0));
}

TEST(HostPlan, KeepsToOneNodeOfACacheThatSpansSeveral) {
  std::vector<HostCpu> cpus;
  for (uint32_t cpu = 0; cpu < 4; ++cpu) cpus.push_back({cpu, cpu, 0, cpu / 2});
  EXPECT_THAT(planHost(parseTopology("1n1l2c1t"), cpus).vcpus, ElementsAre(0, 1));
  EXPECT_THAT(refusal("1n1l3c1t", cpus), HasSubstr("host-too-small"));
}

TEST(HostPlan, RefusesWhatDoesNotFitByName) {
  EXPECT_THAT(
      refusal("1n2l1c1t", host(1, 1, 8, 1)),
      HasSubstr("host-too-small: node 0 of 1n2l1c1t needs 2 LLCs of one host node, with 1 cores of 1 threads "
                "each; this process may use 8 CPUs, in which there are 1 on node 0"));
  EXPECT_THAT(refusal("1n1l2c2t", host(1, 1, 8, 1)), HasSubstr("in which there are none"));
  EXPECT_THAT(refusal("1n1l2c1t", host(1, 1, 2, 1)), HasSubstr("one must be left for the harness"));
}

TEST(HostCpus, AreThoseOfThisProcess) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  const auto cpus = readHostCpus();
  EXPECT_EQ(cpus.size(), static_cast<size_t>(CPU_COUNT(&allowed)));
  for (const HostCpu& cpu : cpus) {
    EXPECT_TRUE(CPU_ISSET(cpu.cpu, &allowed));
    EXPECT_LE(cpu.core, cpu.cpu);
    EXPECT_LE(cpu.llc, cpu.cpu);
  }
  try {
    readHostCpus("/nonexistent");
    FAIL() << "CPUs of nowhere";
  } catch (const Error& e) {
    EXPECT_EQ(e.name(), "host-unreadable");
  }
}

}  // namespace
}  // namespace ktstr
