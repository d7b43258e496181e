// Canned scenarios on a real kernel: each under one scheduler, all under all with KTSTR_TEST_ALL=1 (make
// check-scenarios).
#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>

#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

constexpr const char* schedulers[] = {"", "scx_simple", "scx_flatcg", "scx_qmap"};
constexpr const char* scenarios[] = {
    "steady",           "cpuset_resize",          "cpuset_swap_disjoint", "add_midrun",
    "cgroup_per_cpu",   "workload_variety",       "task_migration",       "affinity_change",
    "nested_task_move", "mutex_contention_light", "fan_out_wake",         "rapid_churn",
};

struct Case {
  const char* scenario;
  const char* scheduler;  // "": EEVDF
};

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.scenario << " under " << (*test.scheduler != '\0' ? test.scheduler : "EEVDF");
}

// Every scenario under the scheduler whose turn it is, or under each.
std::vector<Case> cases() {
  const bool all = getenv("KTSTR_TEST_ALL") != nullptr;
  std::vector<Case> list;
  size_t turn = 0;
  for (const char* scenario : scenarios) {
    for (size_t i = 0; i < std::size(schedulers); i++) {
      if (all || i == turn % std::size(schedulers)) list.push_back({scenario, schedulers[i]});
    }
    turn++;
  }
  return list;
}

class Catalog : public ::testing::TestWithParam<Case> {};

TEST_P(Catalog, Passes) {
  const Case& test = GetParam();
  KTSTR_NEED_KERNEL("debian:7.3");
  std::vector<std::string> words = {"run",      test.scenario, "--topology", "1n2l2c1t",
                                    "--format", "jsonl",       "--duration", "1200ms"};
  if (*test.scheduler != '\0') {
    KTSTR_NEED_SCHEDULER(test.scheduler);
    words.insert(words.end(), {"--scheduler", test.scheduler});
  }
  const Result result = ktstr(words);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  KTSTR_EXPECT_PASS(record);
  EXPECT_STREQ(record->getScenario().cStr(), test.scenario);
  ASSERT_GT(record->getWorkers().size(), 0u);
  for (auto worker : record->getWorkers()) {
    EXPECT_GT(worker.getIterations(), 0u) << worker.getCgroup().cStr() << '/' << worker.getWork().cStr();
    EXPECT_EQ(worker.getErrors(), 0u) << worker.getLastErrorCall().cStr();
  }
  EXPECT_TRUE(descendants().empty());
}

INSTANTIATE_TEST_SUITE_P(V73, Catalog, ::testing::ValuesIn(cases()), [](const auto& test) {
  return std::string(test.param.scenario) + "_" +
         (*test.param.scheduler != '\0' ? test.param.scheduler : "eevdf");
});

}  // namespace
}  // namespace ktstr::testing
