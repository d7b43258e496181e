// Nothing changes while they run.
#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

// cg_0 and cg_1 with this work each.
void both(const Shape& shape, Scenario& scenario, const Work& work) {
  scenario.step(
      Step("run").cgroup(Cgroup("cg_0").work(work)).cgroup(Cgroup("cg_1").work(work)).hold(shape.settled()));
}

Work spinners(const Shape& shape, const Policy& policy) {
  return spinWait(shape.workers).policy(policy);
}

}  // namespace

std::vector<CannedScenario> basic() {
  return {
      {"basic", "steady", "two cgroups of spinners", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, spinWait(shape.workers)); }},
      {"basic", "steady_llc", "spinners in two cgroups, each on an LLC of its own", 2, 2, 1,
       [](const Shape& shape, Scenario& scenario) {
         scenario.step(Step("run")
                           .cgroup(shape.plain("cg_0", llc(0)))
                           .cgroup(shape.plain("cg_1", llc(1)))
                           .hold(shape.settled()));
       }},
      {"basic", "oversubscribed", "two cgroups of 32 workers each that spin and yield", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, mixed(32)); }},
      {"basic", "host_cgroup_contention", "two cgroups against a spinner per CPU outside of all cgroups", 1,
       1, 1,
       [](const Shape& shape, Scenario& scenario) {
         scenario.step(Step("run")
                           .cgroup(shape.plain("cg_0"))
                           .cgroup(shape.plain("cg_1"))
                           .op(spawn("", spinWait(shape.cpus()).name("host")))
                           .hold(shape.settled()));
       }},
      {"basic", "sched_mixed", "normal, batch, idle and real-time work side by side in two cgroups", 2, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         Step step("run");
         for (const char* name : {"cg_0", "cg_1"}) {
           step.cgroup(Cgroup(name)
                           .work(spinWait(2).name("normal"))
                           .work(spinWait(2).name("batch").policy(batchPolicy()))
                           .work(spinWait(2).name("idle").policy(idlePolicy()))
                           .work(bursty(2, 500'000, 250'000).name("fifo").policy(fifoPolicy(1))));
         }
         // Idle work need not get far beside the rest, nor soon: it has 3 shares against 1024.
         scenario.step(step.hold(shape.settled())).assertions([](auto to) {
           to.setNotStarved(rpc::Choice::NO);
           to.setMaxSpreadPct(100);
           to.setMaxGapMs(60'000);
         });
       }},
      {"basic", "cgroup_pipe_io", "pairs that wake each other through pipes, beside spinners, in two cgroups",
       1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         Step step("run");
         for (const char* name : {"cg_0", "cg_1"})
           step.cgroup(Cgroup(name).work(pipeIo(2)).work(spinWait(shape.workers)));
         scenario.step(step.hold(shape.settled()));
       }},
      {"basic", "sched_batch", "SCHED_BATCH spinners in two cgroups", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, spinners(shape, batchPolicy())); }},
      {"basic", "sched_idle", "SCHED_IDLE spinners in two cgroups", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, spinners(shape, idlePolicy())); }},
      {"basic", "sched_fifo", "a SCHED_FIFO burst of 500 ms in 750 in each of two cgroups", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         both(shape, scenario, bursty(1, 500'000, 250'000).policy(fifoPolicy(1)));
       }},
      {"basic", "sched_rr", "two SCHED_RR bursts of 500 ms in 750 in each of two cgroups", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         both(shape, scenario, bursty(2, 500'000, 250'000).policy(rrPolicy(1)));
       }},
      {"basic", "idle_overloaded", "16 spinners against one", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         scenario.step(Step("run")
                           .cgroup(Cgroup("cg_0").work(spinWait(16)))
                           .cgroup(Cgroup("cg_1").work(spinWait(1)))
                           .hold(shape.settled()));
       }},
      {"basic", "all_loaded", "16 spinners in each of two cgroups", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, spinWait(16)); }},
      {"basic", "stall_detect", "16 spinners in one cgroup, of which none may be forgotten", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         scenario.step(Step("run").cgroup(Cgroup("cg_0").work(spinWait(16))).hold(shape.settled()));
       }},
      {"basic", "stall_recovery", "16 spinners in each of two cgroups, of which all must go on", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) { both(shape, scenario, spinWait(16)); }},
  };
}

}  // namespace ktstr::catalog
