// Canned scenarios on a real kernel: twelve under each scheduler, one after the other in one machine, and
// those that change while they run each in a machine of its own, under one scheduler each; all under all with
// KTSTR_TEST_ALL=1 (make check-scenarios).
#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>
#include <vector>

#include "guest/scenario/catalog.h"
#include "protocol/json.h"
#include "protocol/text.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

constexpr const char* schedulers[] = {"", "scx_simple", "scx_flatcg", "scx_qmap"};
constexpr const char* topology = "1n2l2c1t";
constexpr const char* twoNodes = "2n2l2c1t";  // for those that need them

std::string nameOf(const char* scheduler) {
  return *scheduler != '\0' ? scheduler : "eevdf";
}

// Linux 7.3's scx_flatcg aborts when cgroups are made anew for the third time (fcg_cgroup_init: "unexpected
// !NULL cgv_node stash"), 6.18's does not.
constexpr const char* flatcgAbort = "unexpected !NULL cgv_node stash";

// And at times it forgets a cgroup whose tasks yield, fork or change their class: they stay runnable for
// seconds while others run, until they are killed.
bool starvedByFlatcg(const char* scheduler, const Record& record) {
  return scheduler == std::string("scx_flatcg") && record.hasFinding("worker-stuck") &&
         record.findings().find("did not stop when told to: state R") != std::string::npos;
}

// Every worker has worked, where each must, and nothing it called failed.
void run(std::vector<std::string> words, const char* scheduler, const char* shape,
         const Options& options = {}) {
  KTSTR_NEED_KERNEL("debian:7.3");
  words.insert(words.end(), {"--topology", shape, "--format", "jsonl"});
  if (*scheduler != '\0') {
    KTSTR_NEED_SCHEDULER(scheduler);
    words.insert(words.end(), {"--scheduler", scheduler});
  }
  const Result result = ktstr(words, options);
  ASSERT_FALSE(result.out.empty()) << result.err;
  const Record record(result.out);
  const bool all = getenv("KTSTR_TEST_ALL") != nullptr;  // else a second try is the better answer
  if (record.findings().find(flatcgAbort) != std::string::npos || (all && starvedByFlatcg(scheduler, record)))
    GTEST_SKIP() << record.findings();
  KTSTR_EXPECT_PASS(record);
  ASSERT_GT(record->getWorkers().size(), 0u);
  bool mayStarve = false;
  for (const auto limit : record->getLimits())
    mayStarve |= limit.getName() == "notStarved" && limit.getValue() == 0;
  for (auto worker : record->getWorkers()) {
    const std::string name = text(worker.getCgroup().cStr(), '/', worker.getWork().cStr());
    EXPECT_TRUE(mayStarve || worker.getIterations() > 0) << name;
    EXPECT_EQ(worker.getErrors(), 0u) << worker.getLastErrorCall().cStr();
  }
  EXPECT_TRUE(descendants().empty());
}

// A step in which the scheduler under test is started anew.
void startAnew(rpc::Step::Builder step, size_t number) {
  step.setName(text("anew-", number));
  step.initOps(1)[0].setReplaceScheduler("");
  step.initHold().setFixedMs(1);
}

// The steps of several canned scenarios as one scenario; after each `together` of them the scheduler is
// started anew.
std::string joined(const std::vector<const char*>& names, size_t together) {
  std::vector<capnp::MallocMessageBuilder> parts(names.size());
  unsigned steps = static_cast<unsigned>((names.size() - 1) / together);
  for (size_t i = 0; i < names.size(); i++) {
    auto part = parts[i].initRoot<rpc::Scenario>();
    writeCanned(*findCanned(names[i]), {parseTopology(topology), 300, 2}, part);
    EXPECT_FALSE(part.hasBackdrop()) << names[i] << " cannot be joined";
    steps += part.getSteps().size();
  }
  capnp::MallocMessageBuilder whole;
  auto root = whole.initRoot<rpc::Scenario>();
  root.setName("joined");
  root.setDurationMs(300);
  root.initAssertions().setMaxSpreadPct(95);  // each lasts too short to be fair in, or to meet its own limits
  auto all = root.initSteps(steps);
  unsigned next = 0;
  for (size_t i = 0; i < parts.size(); i++) {
    if (i > 0 && i % together == 0) startAnew(all[next++], i);
    for (const auto step : parts[i].getRoot<rpc::Scenario>().asReader().getSteps()) {
      all.setWithCaveats(next, step);
      all[next++].setName(text(names[i], '-', step.getName().cStr()));
    }
  }
  return toJson(root.asReader());
}

class Joined : public ::testing::TestWithParam<const char*> {};

TEST_P(Joined, Pass) {
  const std::vector<const char*> names = {
      "steady",         "steady_llc",      "cgroup_pipe_io",         "uneven_steady", "cpuset_overlap_steady",
      "cgroup_per_cpu", "fork_exit_churn", "mutex_contention_light", "sched_batch",   "affinity_random",
      "nested_steady",  "fan_out_wake"};
  // See flatcgAbort.
  const size_t together = GetParam() == std::string("scx_flatcg") ? 2 : names.size();
  run({"run", "-"}, GetParam(), topology, {.input = joined(names, together)});
}

INSTANTIATE_TEST_SUITE_P(V73, Joined, ::testing::ValuesIn(schedulers),
                         [](const auto& test) { return nameOf(test.param); });

struct Case {
  std::string scenario;
  const char* scheduler;  // "": EEVDF
};

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.scenario << " under " << nameOf(test.scheduler);
}

std::vector<Case> cases() {
  if (getenv("KTSTR_TEST_ALL") == nullptr) {
    return {{"cpuset_resize", "scx_simple"},
            {"nested_task_move", ""},
            {"affinity_change", "scx_qmap"},
            {"add_midrun", "scx_flatcg"}};
  }
  std::vector<Case> all;
  for (const CannedScenario& canned : cannedScenarios()) {
    if (whyNot(canned, parseTopology(topology)) && whyNot(canned, parseTopology(twoNodes))) continue;
    for (const char* scheduler : schedulers) all.push_back({canned.name, scheduler});
  }
  return all;
}

class Alone : public ::testing::TestWithParam<Case> {};

constexpr uint32_t aloneMs = 1200;

// scx_flatcg shares the CPUs out between cgroups; which worker of one gets them is not its business for a
// second or two, and on a host that is busy itself it is not even half. So workers need not be treated alike:
// what is shown is that each works, that none is left waiting, and that every operation takes effect.
std::string leniently(const CannedScenario& canned, const char* shape) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  writeCanned(canned, {parseTopology(shape), aloneMs}, scenario);
  auto limits = scenario.getAssertions();
  if (!(limits.getMaxSpreadPct() > 95)) limits.setMaxSpreadPct(95);
  return toJson(scenario.asReader());
}

TEST_P(Alone, Passes) {
  const Case& test = GetParam();
  const CannedScenario& canned = *findCanned(test.scenario);
  const char* const shape = whyNot(canned, parseTopology(topology)) ? twoNodes : topology;
  if (test.scheduler == std::string("scx_flatcg"))
    run({"run", "-"}, test.scheduler, shape, {.input = leniently(canned, shape)});
  else
    run({"run", test.scenario, "--duration", text(aloneMs, "ms")}, test.scheduler, shape);
}

INSTANTIATE_TEST_SUITE_P(V73, Alone, ::testing::ValuesIn(cases()), [](const auto& test) {
  return test.param.scenario + "_" + nameOf(test.param.scheduler);
});

}  // namespace
}  // namespace ktstr::testing
