// What costs when wake-ups and caches are handled badly.
#include <algorithm>

#include "guest/scenario/catalog/families.h"

namespace ktstr::catalog {
namespace {

using namespace say;

// The work against a spinner per CPU.
void againstSpinners(const Shape& shape, Scenario& scenario, const Work& work) {
  scenario.step(Step("run")
                    .cgroup(Cgroup("cg_0").work(work))
                    .cgroup(Cgroup("cg_1").work(spinWait(shape.cpus())))
                    .hold(shape.settled()));
}

// Each worker does as much for its CPU time as the others, within the deviation of a whole mean.
void evenThroughput(Scenario& scenario) {
  scenario.assertions([](auto to) { to.setMaxThroughputCv(1); });
}

// A few wake-ups may take much longer than the rest, but not the most of all the time.
void evenWakeUps(Scenario& scenario, double limit) {
  scenario.assertions([limit](auto to) { to.setMaxWakeLatencyCv(limit); });
}

uint32_t even(uint32_t workers) {
  return (workers + 1) / 2 * 2;
}

void wakeAffine(const Shape& shape, Scenario& scenario) {
  const Work work(shape.workers, [](auto type) { type.initCacheYield(); });
  scenario.step(Step("run")
                    .cgroup(Cgroup("cg_0").cpuset(llc(0)).work(work))
                    .cgroup(Cgroup("cg_1").cpuset(llc(1)).work(work))
                    .hold(shape.settled()));
  evenThroughput(scenario);  // who yields measures no wake-up
}

constexpr uint32_t fan = 4;
uint32_t fans(const Shape& shape) {
  return std::max(1u, shape.workers / (fan + 1)) * (fan + 1);
}

}  // namespace

std::vector<CannedScenario> performance() {
  return {
      {"performance", "cache_pressure_imbalance", "a cache-bound cgroup against a spinner per CPU", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         againstSpinners(shape, scenario, Work(shape.workers, [](auto type) { type.initCachePressure(); }));
         evenThroughput(scenario);
       }},
      {"performance", "cache_yield_wake_affine", "cache-bound work that yields, on two LLCs", 2, 2, 1,
       wakeAffine},
      {"performance", "cache_pipe_io_compute_imbalance",
       "pairs that hand a warm cache over, against spinners", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         againstSpinners(shape, scenario, Work(even(shape.workers), [](auto type) { type.initCachePipe(); }));
         evenWakeUps(scenario, 15);
       }},
      {"performance", "fan_out_wake", "one wakes four, against spinners", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         againstSpinners(shape, scenario,
                         Work(fans(shape), [](auto type) { type.initFutexFanOut().setFanOut(fan); }));
         evenWakeUps(scenario, 10);  // no spread: who wakes never sleeps, those that are woken do
       }},
      {"performance", "fan_out_compute", "one wakes four that compute, against spinners", 1, 1, 1,
       [](const Shape& shape, Scenario& scenario) {
         againstSpinners(shape, scenario,
                         Work(fans(shape), [](auto type) { type.initFanOutCompute().setFanOut(fan); }));
         scenario.assertions([](auto to) {
           to.setMaxWakeLatencyCv(10);
           to.setMaxSpreadPct(50);
         });
       }},
  };
}

}  // namespace ktstr::catalog
