#include "guest/scenario/catalog.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "guest/scenario/validate.h"
#include "protocol/error.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

constexpr const char* topologies[] = {
    "1n1l1c1t", "1n1l2c1t", "1n2l2c1t", "1n3l5c1t", "2n4l2c1t", "4n8l4c2t", "2l512M,1l256M,0l256M,2c1t"};

// The names by which they are run, in the order in which they are listed.
const std::vector<std::pair<std::string, std::vector<std::string>>> families = {
    {"basic",
     {"steady", "steady_llc", "oversubscribed", "host_cgroup_contention", "sched_mixed", "cgroup_pipe_io",
      "sched_batch", "sched_idle", "sched_fifo", "sched_rr", "idle_overloaded", "all_loaded", "stall_detect",
      "stall_recovery"}},
    {"cpuset",
     {"cpuset_apply_midrun", "cpuset_clear_midrun", "cpuset_resize", "cpuset_swap_disjoint",
      "cpuset_numa_swap", "cpuset_workload_imbalance", "cpuset_change_imbalance", "cpuset_load_shift",
      "cpuset_cross_llc_steady", "cpuset_overlap_steady", "cpuset_overlap_imbalance",
      "cpuset_overlap_load_imbalance", "uneven_steady", "partial_cpus_steady"}},
    {"dynamic", {"add_midrun", "remove_midrun", "rapid_churn", "cpuset_add_remove", "add_during_imbalance"}},
    {"stress",
     {"cgroup_per_cpu", "cgroup_exhaust_reuse", "dsq_contention", "workload_variety",
      "cpuset_workload_variety", "dynamic_workload_variety", "cpuset_cross_llc_race", "fork_exit_churn",
      "nice_sweep", "affinity_churn", "policy_churn", "page_fault_churn", "mutex_contention_light",
      "mutex_contention_heavy"}},
    {"interaction",
     {"add_load_imbalance", "imbalance_mixed_workload", "load_oscillation", "4way_load_imbalance",
      "cpuset_imbalance_combined", "cpuset_overlap_imbalance_combined", "task_migration",
      "migration_imbalance", "no_ctrl_cpuset_change", "load_imbalance", "io_compute_imbalance",
      "bursty_imbalance", "bursty_load_shift", "llc_overflow"}},
    {"affinity",
     {"affinity_change", "multicpu_pin", "cpuset_multicpu_pin", "affinity_inherit", "affinity_random",
      "affinity_spanning", "affinity_pinned", "cpuset_llc_affinity"}},
    {"nested",
     {"nested_steady", "nested_task_move", "nested_rapid_churn", "nested_cpuset", "nested_imbalance",
      "nested_no_ctrl", "nested_weights"}},
    {"performance",
     {"cache_pressure_imbalance", "cache_yield_wake_affine", "cache_pipe_io_compute_imbalance",
      "fan_out_wake", "fan_out_compute"}}};

TEST(Catalog, HasTheseScenariosInEightFamilies) {
  std::vector<std::pair<std::string, std::vector<std::string>>> found;
  for (const auto& canned : cannedScenarios()) {
    if (found.empty() || found.back().first != canned.family) found.push_back({canned.family, {}});
    found.back().second.push_back(canned.name);
    EXPECT_EQ(findCanned(canned.name), &canned) << "two are called " << canned.name;
  }
  EXPECT_EQ(found, families);
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

// All fields of them, the same for the same limits.
std::string normal(const char* json) {
  capnp::MallocMessageBuilder message;
  auto assertions = message.initRoot<rpc::Assertions>();
  fromJson(json, assertions);
  return toJson(assertions.asReader());
}

// What each asks for besides the defaults.
TEST(Catalog, LimitsAreThoseThatSuitTheWork) {
  std::map<std::string, std::string> limits;
  for (const auto& canned : cannedScenarios()) {
    capnp::MallocMessageBuilder message;
    auto scenario = message.initRoot<rpc::Scenario>();
    writeCanned(canned, {parseTopology("2n2l4c1t")}, scenario);
    if (scenario.hasAssertions()) limits[canned.name] = toJson(scenario.getAssertions().asReader());
  }
  const std::map<std::string, const char*> expected = {
      {"sched_mixed", R"({"notStarved":"no","maxSpreadPct":100,"maxGapMs":60000})"},
      {"dsq_contention", R"({"maxGapMs":1500})"},
      {"multicpu_pin", R"({"maxSpreadPct":75})"},
      {"cpuset_multicpu_pin", R"({"maxSpreadPct":75})"},
      {"nested_cpuset", R"({"isolation":"yes"})"},
      {"cache_pressure_imbalance", R"({"maxThroughputCv":1})"},
      {"cache_yield_wake_affine", R"({"maxThroughputCv":1})"},
      {"cache_pipe_io_compute_imbalance", R"({"maxWakeLatencyCv":15})"},
      {"fan_out_wake", R"({"maxWakeLatencyCv":10})"},
      {"fan_out_compute", R"({"maxSpreadPct":50,"maxWakeLatencyCv":10})"}};
  EXPECT_EQ(limits.size(), expected.size());
  for (const auto& each : expected) EXPECT_EQ(limits[each.first], normal(each.second)) << each.first;
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
