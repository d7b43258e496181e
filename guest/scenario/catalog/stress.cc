// Many cgroups, many kinds of work, races.
#include <algorithm>
#include <string>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

std::string numbered(const char* name, uint32_t number) {
  return name + std::to_string(number);
}

void perCpu(const Shape& shape, Scenario& scenario) {
  Step step("run");
  for (uint32_t cpu = 0; cpu < std::min(shape.cpus(), 64u); ++cpu)
    step.cgroup(Cgroup(numbered("many_", cpu)).cpuset(cpus({cpu})).work(spinWait(1)));
  scenario.step(step.hold(shape.settled()));
}

void exhaustReuse(const Shape& shape, Scenario& scenario) {
  const uint32_t count = std::min(2 * shape.cpus(), 16u);
  Step fill("exhaust"), reuse("reuse");
  fill.cgroup(shape.plain("cg_0"));
  for (uint32_t i = 0; i < count; ++i) {
    const std::string name = numbered("exhaust_", i);
    fill.op(addCgroup(name)).op(setCpuset(name, cpus({i % shape.cpus()})));
  }
  for (uint32_t i = 0; i < count / 2; ++i) {
    fill.op(removeCgroup(numbered("exhaust_", i)));
    reuse.cgroup(Cgroup(numbered("reuse_", i)).cpuset(cpus({i % shape.cpus()})).work(spinWait(1)));
  }
  scenario.step(fill.hold(fixedMs(1000))).step(reuse.hold(fraction(1.0)));
}

void dsqContention(const Shape& shape, Scenario& scenario) {
  const uint32_t pinned = std::min(4u, shape.cpus() - 1);
  Cgroup crowd("crowd");
  crowd.work(bursty(std::max(8u, 3 * (shape.cpus() - 1)), 10'000, 5'000).name("free"));
  for (uint32_t i = 0; i < pinned; ++i)
    crowd.work(bursty(1, 10'000, 5'000).name(numbered("pinned_", i)).affinity(onCpus({i})));
  scenario.step(Step("run").cgroup(crowd).hold(shape.settled()));
  scenario.assertions([](auto to) { to.setMaxGapMs(1500); });
}

Work variety(uint32_t index, uint32_t workers) {
  switch (index % 5) {
    case 0:
      return spinWait(workers);
    case 1:
      return bursty(workers, 50'000, 100'000);
    case 2:
      return ioSyncWrite(2);
    case 3:
      return mixed(workers);
    default:
      return yieldHeavy(workers);
  }
}

void workloadVariety(const Shape& shape, Scenario& scenario) {
  Step step("run");
  for (uint32_t i = 0; i < 5; ++i) step.cgroup(Cgroup(numbered("cg_", i)).work(variety(i, shape.workers)));
  scenario.step(step.hold(shape.settled()));
}

void cpusetWorkloadVariety(const Shape& shape, Scenario& scenario) {
  Step step("run");
  for (uint32_t i = 0; i < 3; ++i)
    step.cgroup(Cgroup(numbered("cg_", i)).cpuset(part(i, 3)).work(variety(i, shape.workers)));
  scenario.step(step.hold(shape.settled()));
}

void dynamicWorkloadVariety(const Shape& shape, Scenario& scenario) {
  for (uint32_t i = 0; i < 3; ++i)
    scenario.backdrop(Cgroup(numbered("cg_", i)).work(variety(i, shape.workers)));
  scenario.step(Step("three").hold(shape.settled(1.0 / 3)));
  scenario.step(Step("four").cgroup(Cgroup("cg_3").work(bursty(4, 100'000, 50'000))).hold(fraction(1.0 / 3)));
  scenario.step(Step("three_again").hold(fraction(1.0 / 3)));
}

void crossLlcRace(const Shape& shape, Scenario& scenario) {
  const uint32_t crowd = std::min(4 * shape.topology.cpusPerLlc(), 64u);
  scenario.step(Step("race")
                    .cgroup(Cgroup("cg_0").cpuset(llc(0)).work(mixed(crowd)))
                    .cgroup(Cgroup("cg_1").cpuset(llc(1)).work(mixed(crowd)))
                    .op(swapCpusets("cg_0", "cg_1"))
                    .hold(loop(200, 1.0)));
}

// Two cgroups, each with this work.
template <typename Type>
void churn(const Shape& shape, Scenario& scenario, const Type& type, uint32_t workers) {
  Step step("run");
  for (const char* name : {"cg_0", "cg_1"}) step.cgroup(Cgroup(name).work(Work(workers, type)));
  scenario.step(step.hold(shape.settled()));
}

}  // namespace

std::vector<CannedScenario> stress() {
  return {
      {"stress", "cgroup_per_cpu", "a cgroup for each CPU", 2, 1, 1, perCpu},
      {"stress", "cgroup_exhaust_reuse", "many empty cgroups, of which half is given back and made again", 2,
       1, 1, exhaustReuse},
      {"stress", "dsq_contention", "a crowd that bursts, and pinned work that must get its CPU", 4, 1, 1,
       dsqContention},
      {"stress", "workload_variety", "five kinds of work in five cgroups", 2, 1, 1, workloadVariety},
      {"stress", "cpuset_workload_variety", "three kinds of work on three parts of the machine", 3, 1, 1,
       cpusetWorkloadVariety},
      {"stress", "dynamic_workload_variety", "three kinds of work, and a fourth that comes and goes", 2, 1, 1,
       dynamicWorkloadVariety},
      {"stress", "cpuset_cross_llc_race", "crowded cgroups change LLCs five times a second", 2, 2, 1,
       crossLlcRace},
      {"stress", "fork_exit_churn", "processes that are forked and exit at once", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.setForkExit(); }, shape.workers);
       }},
      {"stress", "nice_sweep", "work whose nice value changes all the time", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.setNiceSweep(); }, shape.workers);
       }},
      {"stress", "affinity_churn", "work whose affinity changes all the time", 2, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.initAffinityChurn(); }, shape.workers);
       }},
      {"stress", "policy_churn", "work whose scheduling policy changes all the time", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.initPolicyChurn(); }, shape.workers);
       }},
      {"stress", "page_fault_churn", "work that faults its pages in again and again", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.initPageFaultChurn(); }, shape.workers);
       }},
      {"stress", "mutex_contention_light", "groups of four contend for a lock that is held shortly", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario, [](auto type) { type.initMutexContention().setHoldIters(64); }, 4);
       }},
      {"stress", "mutex_contention_heavy",
       "groups of eight contend for a lock that is held for most of the time", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         churn(
             shape, scenario,
             [](auto type) {
               auto mutex = type.initMutexContention();
               mutex.setContenders(8);
               mutex.setHoldIters(1024);
               mutex.setWorkIters(256);
             },
             8);
       }},
  };
}

}  // namespace ktstr::catalog
