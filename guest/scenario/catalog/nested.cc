// cgroups in cgroups.
#include <string>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

void steady(const Shape& shape, Scenario& scenario) {
  Step step("run");
  for (const char* name : {"cg_0/sub_a", "cg_0/sub_b", "cg_1/sub_b", "cg_1/sub_a/deep"})
    step.cgroup(shape.plain(name));
  scenario.step(step.hold(shape.settled()));
}

void taskMove(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0/sub_a"));
  for (const char* name : {"cg_0/sub_b", "cg_1", "cg_1/sub"}) scenario.backdropOp(addCgroup(name));
  scenario.step(Step("settle").hold(shape.settled(0.25)));
  const char* way[] = {"cg_0/sub_a", "cg_0/sub_b", "cg_1/sub", "cg_0/sub_a"};
  for (int i = 0; i < 3; ++i) {
    scenario.step(
        Step("move_" + std::to_string(i)).op(moveAllTasks(way[i], way[i + 1])).hold(fraction(0.25)));
  }
}

void rapidChurn(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("churn")
                    .cgroup(shape.plain("cg_0/steady"))
                    .cgroup(shape.plain("cg_1/steady"))
                    .op(addCgroup("cg_0/churn"))
                    .op(addCgroup("cg_0/churn/deep"))
                    .op(sleepMs(50))
                    .op(removeCgroup("cg_0/churn/deep"))
                    .op(removeCgroup("cg_0/churn"))
                    .hold(loop(10, 1.0)));
}

void narrowing(const Shape& shape, Scenario& scenario) {
  scenario.backdropOp(addCgroup("cg_0")).backdropOp(setCpuset("cg_0", range(0, 0.5)));
  scenario.step(Step("run").cgroup(shape.plain("cg_0/narrow", range(0, 0.25))).hold(shape.settled()));
  scenario.assertions([](auto to) { to.setIsolation(rpc::Choice::YES); });
}

void imbalance(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(Cgroup("cg_0/sub_a").work(spinWait(8)))
                    .cgroup(Cgroup("cg_1/sub_b").work(bursty(2, 50'000, 100'000)))
                    .hold(shape.settled()));
}

void noLimits(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("run")
                    .cgroup(shape.plain("cg_0/sub_a/deep"))
                    .cgroup(shape.plain("cg_1/sub_b"))
                    .hold(shape.settled()));
}

// The deeper one has twice the weight at each of its two levels.
void weights(const Shape& shape, Scenario& scenario) {
  const auto weight = [](uint32_t value) { return [value](auto to) { to.setCpuWeight(value); }; };
  scenario.step(Step("run")
                    .cgroup(shape.plain("cg_0/sub_a/deep").limits(weight(200)))
                    .cgroup(shape.plain("cg_1/sub_b").limits(weight(100)))
                    .hold(shape.settled()));
}

}  // namespace

std::vector<CannedScenario> nested() {
  return {
      {"nested", "nested_steady", "work two and three levels deep", 1, 1, 1, steady},
      {"nested", "nested_task_move", "tasks move between levels and branches", 1, 1, 1, taskMove},
      {"nested", "nested_rapid_churn", "cgroups in a busy cgroup come and go all the time", 1, 1, 1,
       rapidChurn},
      {"nested", "nested_cpuset", "a quarter of the machine inside a half of it", 4, 1, 1, narrowing},
      {"nested", "nested_imbalance", "8 spinners deep in one branch, bursts in the other", 1, 1, 1,
       imbalance},
      {"nested", "nested_no_ctrl", "work at different depths without weights or limits", 1, 1, 1, noLimits},
      {"nested", "nested_weights", "weights at different depths", 1, 1, 1, weights},
  };
}

}  // namespace ktstr::catalog
