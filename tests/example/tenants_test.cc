// Tests of schedulers for tenants, as authors of such schedulers write them.
#include <ktstr/ktstr.h>

#include <chrono>

using namespace ktstr::say;

KTSTR_SCHEDULER(flatcg, {.binary = "scx_flatcg", .topology = {.llcs = 2}});
KTSTR_SCHEDULER(qmap, {.binary = "scx_qmap", .topology = {.llcs = 2}});

namespace {

// Each tenant with two spinners per CPU that it has.
Step tenants(const ktstr::Context& ctx, const char* name) {
  const Work twice = spinWait(ctx.shape().cpus());
  return Step(name)
      .cgroup(Cgroup("first").cpuset(part(0, 2)).work(twice))
      .cgroup(Cgroup("second").cpuset(part(1, 2)).work(twice));
}

}  // namespace

// The same work under the scheduler and, in the same machine, under EEVDF: absolute figures do not travel,
// ratios do.
KTSTR_TEST(two_tenants_get_what_eevdf_gives, {.scheduler = flatcg, .durationMs = 1500}) {
  ctx.run(Scenario("two_tenants", "two tenants, under the scheduler and then without it")
              .step(tenants(ctx, "scheduler"))
              .step(Step("detach").op(detachScheduler()).hold(fixedMs(100)))
              .step(tenants(ctx, "eevdf")));
  for (const char* tenant : {"first", "second"}) {
    const auto rate = [&](const char* step) { return ctx.last().iterationsPerSecond({step, tenant}); };
    EXPECT_GT(rate("scheduler"), 0.5 * rate("eevdf")) << tenant;
    const auto delay = [&](const char* step) { return double(ctx.last().runDelayNs({step, tenant})); };
    EXPECT_LT(delay("scheduler"), 1.8 * delay("eevdf")) << tenant;
  }
}

// Cpusets that do not overlap and together are all CPUs: nobody runs where he may not, and every CPU is used.
KTSTR_TEST(disjoint_cpusets_cover_the_machine,
           {.scheduler = qmap, .durationMs = 1000, .assertions = [](auto to) {
              to.setIsolation(ktstr::rpc::Choice::YES);
            }}) {
  ctx.run(Scenario("disjoint", "two tenants on halves").step(tenants(ctx, "run")));
  std::set<uint32_t> used;
  for (const auto worker : ctx.last().workers({}))
    used.insert(worker.getCpusSeen().begin(), worker.getCpusSeen().end());
  EXPECT_EQ(used.size(), ctx.topology().vcpus());
}

// One that reads a configuration, which each test gives.
KTSTR_CONFIGURED_SCHEDULER(simple_from_file, "--config {file}", "/etc/simple/words",
                           {.binary = HERE "/simple_from_file", .constraints = {.minCpus = 2}});

// Work of our own, in this very program: a request each millisecond, and how long it takes to be served.
KTSTR_WORK(serve) {
  const auto now = [] {
    return static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
  };
  for (uint64_t due = now() + 1'000'000; worker.sleepUntil(due); due = now() + 1'000'000) {
    worker.spin(1000);
    worker.operation(now() - due);
    worker.iteration();
  }
}

// Two tests: requests_are_served/debian_7_3 and requests_are_served/debian_6_18.
KTSTR_TEST(requests_are_served, {.scheduler = simple_from_file.with("-v\n"),
                                 .kernels = {"debian:7.3", "debian:6.18"},
                                 .durationMs = 1500,
                                 .binaries = {"scx_simple"},
                                 .snapshots = 3,
                                 .postVm = [](const ktstr::RunResult& run) {
                                   EXPECT_STREQ(run.record().getSchedulerOps().cStr(), "simple");
                                 }}) {
  ctx.run(Scenario("requests", "served beside spinners")
              .step(Step("run")
                        .cgroup(Cgroup("server").work(custom(2, "serve")))
                        .cgroup(Cgroup("batch").work(spinWait(2)))
                        .op(watch(".bss:vtime_now > 0"))));
  for (const auto worker : ctx.last().workers({.cgroup = "server"})) {
    EXPECT_GT(worker.getWakeSamples(), 3u);
    EXPECT_GT(worker.getOpSamples(), 3u);
  }
  // The scheduler's clock goes forward and does not stand still; its state at the first moment that it had
  // moved.
  const auto clock = ctx.last().series().bpf<uint64_t>("vtime_now");
  EXPECT_EQ(clock.size(), 3u);
  EXPECT_TRUE(clock.nondecreasing());
  const auto still = clock.steadyWithin(0, 0);
  EXPECT_FALSE(still);
  EXPECT_NE(still.reason.find("vtime_now (steadyWithin 0 of the mean"), std::string::npos) << still;
  EXPECT_GT(ctx.last().snapshot(".bss_vtime_now___0").var("vtime_now").asU64(), 0u);
}
