// cgroups on parts of the machine, and parts that change.
#include <array>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

void sides(Scenario& scenario, const Shape& shape, const Cpuset& left, const Cpuset& right) {
  scenario.backdrop(shape.plain("cg_0", left)).backdrop(shape.plain("cg_1", right));
}
Step resized(const char* name, const Cpuset& left, const Cpuset& right) {
  return Step(name).op(setCpuset("cg_0", left)).op(setCpuset("cg_1", right));
}

void applyMidrun(const Shape& shape, Scenario& scenario) {
  sides(scenario, shape, {}, {});
  scenario.step(Step("free").hold(shape.settled(0.5)));
  scenario.step(resized("halves", part(0, 2), part(1, 2)).hold(fraction(0.5)));
}

void clearMidrun(const Shape& shape, Scenario& scenario) {
  sides(scenario, shape, part(0, 2), part(1, 2));
  scenario.step(Step("halves").hold(shape.settled(0.5)));
  scenario.step(Step("free").op(clearCpuset("cg_0")).op(clearCpuset("cg_1")).hold(fraction(0.5)));
}

void resize(const Shape& shape, Scenario& scenario) {
  sides(scenario, shape, range(0, 0.5), range(0.5, 1));
  scenario.step(Step("halves").hold(shape.settled(1.0 / 3)));
  scenario.step(resized("right", range(0, 0.25), range(0.25, 1)).hold(fraction(1.0 / 3)));
  scenario.step(resized("left", range(0, 0.75), range(0.75, 1)).hold(fraction(1.0 / 3)));
}

void swap(const Shape& shape, Scenario& scenario) {
  sides(scenario, shape, part(0, 2), part(1, 2));
  scenario.step(Step("halves").hold(shape.settled(1.0 / 3)));
  for (const char* name : {"swapped", "back"})
    scenario.step(Step(name).op(swapCpusets("cg_0", "cg_1")).hold(fraction(1.0 / 3)));
}

void numaSwap(const Shape& shape, Scenario& scenario) {
  sides(scenario, shape, numa(0), numa(1));
  scenario.step(Step("home").hold(shape.settled(0.5)));
  scenario.step(Step("away").op(swapCpusets("cg_0", "cg_1")).hold(fraction(0.5)));
}

void workloadImbalance(const Shape& shape, Scenario& scenario) {
  const uint32_t half = shape.cpus() / 2;
  scenario.step(Step("run")
                    .cgroup(Cgroup("cg_0").cpuset(part(0, 2)).work(spinWait(2 * half)))
                    .cgroup(Cgroup("cg_1").cpuset(part(1, 2)).work(bursty(shape.workers, 50'000, 100'000)))
                    .hold(shape.settled()));
}

void changeImbalance(const Shape& shape, Scenario& scenario) {
  const uint32_t half = shape.cpus() / 2;
  scenario.backdrop(Cgroup("cg_0").cpuset(range(0, 0.5)).work(spinWait(2 * half)));
  scenario.backdrop(Cgroup("cg_1").cpuset(range(0.5, 1)).work(bursty(2, 30'000, 100'000)));
  scenario.step(Step("halves").hold(shape.settled(1.0 / 3)));
  scenario.step(Step("narrow").op(setCpuset("cg_1", cpus({half}))).hold(fraction(1.0 / 3)));
  scenario.step(Step("wide").op(setCpuset("cg_1", range(0.5, 1))).hold(fraction(1.0 / 3)));
}

void loadShift(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(Cgroup("cg_0").cpuset(part(0, 2)).work(spinWait(16)));
  scenario.backdrop(Cgroup("cg_1").cpuset(part(1, 2)).work(yieldHeavy(1)));
  scenario.step(Step("left").hold(shape.settled(0.5)));
  scenario.step(Step("both").op(spawn("cg_1", spinWait(16).name("more"))).hold(fraction(0.5)));
}

// Cut in the middle of the first LLC, so that one cgroup straddles it.
void misaligned(const Shape& shape, Scenario& scenario) {
  const uint32_t first = (shape.topology.cpusPerLlc() + 1) / 2;
  const double cut = static_cast<double>(first) / shape.cpus();
  scenario.step(Step("run")
                    .cgroup(shape.plain("cg_0", range(0, cut)))
                    .cgroup(shape.plain("cg_1", range(cut, 1)))
                    .hold(shape.settled()));
}

void overlapping(const Shape& shape, Scenario& scenario) {
  Step step("run");
  for (uint32_t i = 0; i < 3; ++i) step.cgroup(shape.plain("cg_" + std::to_string(i), overlap(i, 3, 0.5)));
  scenario.step(step.hold(shape.settled()));
}

// The work of three cgroups whose thirds overlap by half.
void overlappingUnlike(const Shape& shape, Scenario& scenario, const std::array<Work, 3>& works) {
  Step step("run");
  for (uint32_t i = 0; i < 3; ++i)
    step.cgroup(Cgroup("cg_" + std::to_string(i)).cpuset(overlap(i, 3, 0.5)).work(works[i]));
  scenario.step(step.hold(shape.settled()));
}

void overlapImbalance(const Shape& shape, Scenario& scenario) {
  overlappingUnlike(shape, scenario, {spinWait(8), bursty(1, 50'000, 100'000), yieldHeavy(1)});
}

void overlapLoadImbalance(const Shape& shape, Scenario& scenario) {
  overlappingUnlike(shape, scenario, {spinWait(16), yieldHeavy(1), spinWait(4)});
}

void uneven(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(shape.plain("cg_0", range(0, 0.75)))
                    .cgroup(shape.plain("cg_1", range(0.75, 1)))
                    .hold(shape.settled()));
}

void holdback(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(shape.plain("cg_0", range(0, 1.0 / 3)))
                    .cgroup(shape.plain("cg_1", range(1.0 / 3, 2.0 / 3)))
                    .hold(shape.settled()));
}

}  // namespace

std::vector<CannedScenario> cpuset() {
  return {
      {"cpuset", "cpuset_apply_midrun", "two free cgroups get a half each in mid-run", 2, 1, 1, applyMidrun},
      {"cpuset", "cpuset_clear_midrun", "two halves become free in mid-run", 2, 1, 1, clearMidrun},
      {"cpuset", "cpuset_resize", "the border between two cgroups moves left, then right", 4, 1, 1, resize},
      {"cpuset", "cpuset_swap_disjoint", "two cgroups change halves, and back", 2, 1, 1, swap},
      {"cpuset", "cpuset_numa_swap", "two cgroups change NUMA nodes", 2, 1, 2, numaSwap},
      {"cpuset", "cpuset_workload_imbalance", "a crowded half beside one that bursts", 2, 1, 1,
       workloadImbalance},
      {"cpuset", "cpuset_change_imbalance", "the quiet half shrinks to one CPU and grows again", 4, 1, 1,
       changeImbalance},
      {"cpuset", "cpuset_load_shift", "the quiet half becomes as crowded as the other", 2, 1, 1, loadShift},
      {"cpuset", "cpuset_cross_llc_steady", "the border is in the middle of an LLC", 4, 2, 1, misaligned},
      {"cpuset", "cpuset_overlap_steady", "three cgroups whose thirds overlap by half", 3, 1, 1, overlapping},
      {"cpuset", "cpuset_overlap_imbalance",
       "a crowd, one that bursts and one that yields on thirds that overlap by half", 3, 1, 1,
       overlapImbalance},
      {"cpuset", "cpuset_overlap_load_imbalance",
       "two unlike crowds and one that yields on thirds that overlap by half", 3, 1, 1, overlapLoadImbalance},
      {"cpuset", "uneven_steady", "three quarters and one quarter of the CPUs", 4, 1, 1, uneven},
      {"cpuset", "partial_cpus_steady", "two cgroups on two thirds of the CPUs, the rest idle", 3, 1, 1,
       holdback},
  };
}

}  // namespace ktstr::catalog
