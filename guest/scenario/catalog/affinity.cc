// Work that may not run everywhere.
#include <algorithm>
#include <string>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

void steadily(const Shape& shape, Scenario& scenario, const Work& work, const Cpuset& left = {},
              const Cpuset& right = {}) {
  scenario.step(Step("run")
                    .cgroup(Cgroup("cg_0").cpuset(left).work(work))
                    .cgroup(Cgroup("cg_1").cpuset(right).work(work))
                    .hold(shape.settled()));
}

void change(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0")).backdrop(shape.plain("cg_1"));
  scenario.step(Step("free").hold(shape.settled(0.2)));
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const Affinity some = randomCpus((shape.cpus() + 1) / 2, seed);
    scenario.step(Step("subset_" + std::to_string(seed))
                      .op(setAffinity("cg_0", some))
                      .op(setAffinity("cg_1", some))
                      .hold(fraction(0.2)));
  }
}

void evenly(Scenario& scenario) {
  scenario.assertions([](auto to) { to.setMaxSpreadPct(75); });
}

void multicpuPin(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0")).backdrop(shape.plain("cg_1"));
  scenario.step(Step("free").hold(fixedMs(settleMs)));
  scenario.step(Step("pinned")
                    .op(setAffinity("cg_0", onCpus({0, 1})))
                    .op(setAffinity("cg_1", onCpus({0, 1})))
                    .hold(fraction(1.0)));
  evenly(scenario);
}

void cpusetMulticpuPin(const Shape& shape, Scenario& scenario) {
  const uint32_t half = shape.cpus() / 2;
  scenario.backdrop(shape.plain("cg_0", part(0, 2))).backdrop(shape.plain("cg_1", part(1, 2)));
  scenario.step(Step("halves").hold(fixedMs(settleMs)));
  scenario.step(Step("pinned")
                    .op(setAffinity("cg_0", onCpus({0, 1})))
                    .op(setAffinity("cg_1", onCpus({half, half + 1})))
                    .hold(fraction(1.0)));
  evenly(scenario);
}

}  // namespace

std::vector<CannedScenario> affinity() {
  return {
      {"affinity", "affinity_change", "both cgroups are sent to another half of the CPUs four times", 2, 1, 1,
       change},
      {"affinity", "multicpu_pin", "both cgroups on the same two CPUs", 2, 1, 1, multicpuPin},
      {"affinity", "cpuset_multicpu_pin", "each cgroup on two CPUs of its half", 4, 1, 1, cpusetMulticpuPin},
      {"affinity", "affinity_inherit", "no affinity at all", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { steadily(shape, scenario, mixed(shape.workers)); }},
      {"affinity", "affinity_random", "each worker on CPUs of its own, drawn from its cgroup's half", 2, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         const uint32_t count = std::max(1u, shape.cpus() / 4);
         steadily(shape, scenario, mixed(shape.workers).affinity(randomCpus(count)), part(0, 2), part(1, 2));
       }},
      {"affinity", "affinity_spanning", "workers that may run on every CPU of the machine", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         steadily(shape, scenario, mixed(shape.workers).affinity(acrossCgroups()));
       }},
      {"affinity", "affinity_pinned", "all workers of both cgroups on one CPU", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         steadily(shape, scenario, mixed(shape.workers).affinity(oneCpu()));
       }},
      {"affinity", "cpuset_llc_affinity", "workers that keep to the LLC of their cgroup", 2, 2, 1,
       [](const Shape& shape, Scenario& scenario) {
         steadily(shape, scenario, mixed(shape.workers).affinity(oneLlc()), llc(0), llc(1));
       }},
  };
}

}  // namespace ktstr::catalog
