// cgroups that come and go.
#include <algorithm>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

void addMidrun(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0")).backdrop(shape.plain("cg_1"));
  scenario.step(Step("two").hold(shape.settled(0.5)));
  scenario.step(Step("four").cgroup(shape.plain("cg_2")).cgroup(shape.plain("cg_3")).hold(fraction(0.5)));
}

void removeMidrun(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0")).backdrop(shape.plain("cg_1"));
  scenario.step(
      Step("four").cgroup(shape.plain("cg_2")).cgroup(shape.plain("cg_3")).hold(shape.settled(0.5)));
  scenario.step(Step("two").hold(fraction(0.5)));
}

void rapidChurn(const Shape& shape, Scenario& scenario) {
  scenario.step(Step("churn")
                    .cgroup(shape.plain("cg_0"))
                    .cgroup(shape.plain("cg_1"))
                    .op(addCgroup("ephemeral"))
                    .op(sleepMs(100))
                    .op(removeCgroup("ephemeral"))
                    .hold(loop(10, 1.0)));
}

void cpusetAddRemove(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(shape.plain("cg_0", part(0, 3))).backdrop(shape.plain("cg_1", part(1, 3)));
  scenario.step(Step("two").hold(shape.settled(1.0 / 3)));
  scenario.step(Step("three").cgroup(shape.plain("cg_2", part(2, 3))).hold(fraction(1.0 / 3)));
  scenario.step(Step("two_again").hold(fraction(1.0 / 3)));
}

void addDuringImbalance(const Shape& shape, Scenario& scenario) {
  scenario.backdrop(Cgroup("cg_0").work(spinWait(8)));
  scenario.backdrop(Cgroup("cg_1").work(bursty(2, 50'000, 100'000)));
  scenario.step(Step("two").hold(shape.settled(0.5)));
  scenario.step(Step("three").cgroup(Cgroup("cg_2").work(spinWait(4))).hold(fraction(0.5)));
}

}  // namespace

std::vector<CannedScenario> dynamic() {
  return {
      {"dynamic", "add_midrun", "two cgroups more in mid-run", 2, 1, 1, addMidrun},
      {"dynamic", "remove_midrun", "two of four cgroups go in mid-run", 2, 1, 1, removeMidrun},
      {"dynamic", "rapid_churn", "an empty cgroup comes and goes ten times a second", 1, 1, 1, rapidChurn},
      {"dynamic", "cpuset_add_remove", "a third of the CPUs gets a cgroup of its own, and loses it", 3, 1, 1,
       cpusetAddRemove},
      {"dynamic", "add_during_imbalance", "a crowd arrives where one side is busy and the other bursts", 1, 1,
       1, addDuringImbalance},
  };
}

}  // namespace ktstr::catalog
