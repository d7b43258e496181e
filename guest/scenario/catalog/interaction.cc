// Loads that differ, and meet.
#include <string>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

Cgroup of(const char* name, const Work& work, const Cpuset& cpuset = {}) {
  return Cgroup(name).cpuset(cpuset).work(work);
}

void addLoadImbalance(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(of("cg_0", yieldHeavy(1))).backdrop(of("cg_1", yieldHeavy(1)));
  scenario.step(Step("light").hold(shape.settled(0.5)));
  scenario.step(Step("heavy").cgroup(of("cg_2", spinWait(16))).hold(fraction(0.5)));
}

void imbalanceMixed(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(8)))
                    .cgroup(of("cg_1", bursty(shape.workers, 100'000, 50'000)))
                    .cgroup(of("cg_2", ioSyncWrite(shape.workers)))
                    .hold(shape.settled()));
}

void loadOscillation(const Shape& shape, Scenario& scenario) {
  for (uint32_t phase = 0; phase < 4; ++phase) {
    const Work heavy = spinWait(2 * shape.workers), light = yieldHeavy(1);
    const bool left = phase % 2 == 0;
    scenario.step(Step("phase_" + std::to_string(phase))
                      .cgroup(of("cg_0", left ? heavy : light))
                      .cgroup(of("cg_1", left ? light : heavy))
                      .hold(phase == 0 ? shape.settled(0.25) : fraction(0.25)));
  }
}

void fourWays(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(16)))
                    .cgroup(of("cg_1", yieldHeavy(1)))
                    .cgroup(of("cg_2", spinWait(8)))
                    .cgroup(of("cg_3", spinWait(4)))
                    .hold(shape.settled()));
}

void cpusetImbalance(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(2 * (shape.cpus() / 2)), part(0, 2)))
                    .cgroup(of("cg_1", bursty(2, 50'000, 150'000), part(1, 2)))
                    .hold(shape.settled()));
}

void overlapImbalance(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(12), overlap(0, 3, 0.5)))
                    .cgroup(of("cg_1", bursty(2, 50'000, 100'000), overlap(1, 3, 0.5)))
                    .cgroup(of("cg_2", yieldHeavy(1), overlap(2, 3, 0.5)))
                    .hold(shape.settled()));
}

void taskMigration(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0")).backdrop(shape.plain("cg_mobile"));
  scenario.backdropOp(addCgroup("cg_1"));
  scenario.step(Step("settle").hold(fixedMs(settleMs)));
  for (int move = 0; move < 8; ++move) {
    const bool away = move % 2 == 0;
    scenario.step(Step("move_" + std::to_string(move))
                      .op(away ? moveAllTasks("cg_mobile", "cg_1") : moveAllTasks("cg_1", "cg_mobile"))
                      .hold(fraction(0.125)));
  }
}

void migrationImbalance(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(of("cg_heavy", spinWait(6)))
      .backdrop(of("cg_mobile", spinWait(2)))
      .backdrop(of("cg_light", bursty(2, 50'000, 100'000)));
  scenario.backdropOp(addCgroup("cg_overflow"));
  scenario.step(Step("settle").hold(shape.settled(0)));
  for (int move = 0; move < 6; ++move) {
    const bool away = move % 2 == 0;
    scenario.step(
        Step("move_" + std::to_string(move))
            .op(away ? moveAllTasks("cg_mobile", "cg_overflow") : moveAllTasks("cg_overflow", "cg_mobile"))
            .hold(fraction(1.0 / 6)));
  }
}

void cpusetChange(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0", part(0, 2))).backdrop(shape.plain("cg_1", part(1, 2)));
  scenario.step(Step("halves").hold(shape.settled(0.5)));
  scenario.step(Step("free").op(clearCpuset("cg_0")).op(clearCpuset("cg_1")).hold(fraction(0.5)));
}

void loadImbalance(const Shape& shape, Scenario& scenario) {
  scenario.step(
      Step("run").cgroup(of("cg_0", spinWait(16))).cgroup(of("cg_1", yieldHeavy(1))).hold(shape.settled()));
}

void ioCompute(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", ioSyncWrite(shape.workers)))
                    .cgroup(of("cg_1", spinWait(shape.cpus())))
                    .hold(shape.settled()));
}

void burstyImbalance(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(8)))
                    .cgroup(of("cg_1", bursty(4, 50'000, 100'000)))
                    .hold(shape.settled()));
}

void burstyShift(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", bursty(12, 200'000, 50'000)))
                    .cgroup(of("cg_1", spinWait(4)))
                    .hold(shape.settled()));
}

void llcOverflow(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(of("cg_0", spinWait(2 * shape.topology.cpusPerLlc()).affinity(oneLlc())))
                    .hold(shape.settled()));
}

}  // namespace

std::vector<CannedScenario> interaction() {
  return {
      {"interaction", "add_load_imbalance", "a crowd beside two that only yield", 1, 1, 1, addLoadImbalance},
      {"interaction", "imbalance_mixed_workload", "spinners, bursts and a disk", 1, 1, 1, imbalanceMixed},
      {"interaction", "load_oscillation", "heavy and light change places four times", 1, 1, 1,
       loadOscillation},
      {"interaction", "4way_load_imbalance", "16, 8, 4 spinners and one that yields", 1, 1, 1, fourWays},
      {"interaction", "cpuset_imbalance_combined", "a crowded half beside one that bursts now and then", 2, 1,
       1, cpusetImbalance},
      {"interaction", "cpuset_overlap_imbalance_combined", "three uneven loads on thirds that overlap", 3, 1,
       1, overlapImbalance},
      {"interaction", "task_migration", "all tasks of a cgroup move to another, and back, four times", 1, 1,
       1, taskMigration},
      {"interaction", "migration_imbalance", "tasks move between cgroups while others are busy", 1, 1, 1,
       migrationImbalance},
      {"interaction", "no_ctrl_cpuset_change", "two halves without limits become free in mid-run", 2, 1, 1,
       cpusetChange},
      {"interaction", "load_imbalance", "16 spinners against one that yields", 1, 1, 1, loadImbalance},
      {"interaction", "io_compute_imbalance", "a disk against a spinner per CPU", 1, 1, 1, ioCompute},
      {"interaction", "bursty_imbalance", "8 spinners against 4 that burst for a third of the time", 1, 1, 1,
       burstyImbalance},
      {"interaction", "bursty_load_shift", "12 that burst for most of the time against 4 spinners", 1, 1, 1,
       burstyShift},
      {"interaction", "llc_overflow", "twice as many spinners as one LLC has CPUs, all on it", 2, 1, 1,
       llcOverflow},
  };
}

}  // namespace ktstr::catalog
