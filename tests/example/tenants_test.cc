// Tests of schedulers for tenants, as authors of such schedulers write them.
#include <ktstr/ktstr.h>

#include <chrono>

using namespace ktstr::say;

KTSTR_SCHEDULER(flatcg, {.binary = "scx_flatcg", .topology = {.llcs = 2}});
KTSTR_SCHEDULER(qmap, {.binary = "scx_qmap", .topology = {.llcs = 2}});

namespace {

// A small tenant beside a large one. scx_flatcg goes by the cgroup and gives each a half; scx_qmap by the
// nice value, of which 4 is the first that it puts into a lower queue, and runs the small one most of the
// time; EEVDF by the nice value too, but in proportion: some 30 % of a CPU for each of the small one's
// workers.
Step tenants(const char* name) {
  return Step(name)
      .cgroup(Cgroup("sensitive").work(spinWait(2)))
      .cgroup(Cgroup("hog").nice(4).work(spinWait(30)));
}

// The same under the scheduler and, in the same machine, under EEVDF: absolute figures do not travel, ratios
// do. How much of the time in which it wants to run does a tenant run? A busy host stretches both alike.
void expectIsolation(ktstr::Context& ctx) {
  ctx.run(Scenario("tenants", "two tenants, under the scheduler and then without it")
              .step(tenants("scheduler"))
              .step(Step("detach").op(detachScheduler()).hold(fixedMs(100)))
              .step(tenants("eevdf")));
  const auto part = [&](const char* step, const char* tenant) {
    const auto ran = double(ctx.last().cpuNs({step, tenant}));
    return ran / (ran + double(ctx.last().runDelayNs({step, tenant})));
  };
  EXPECT_GE(part("scheduler", "sensitive"), 1.1 * part("eevdf", "sensitive")) << "it runs more,";
  EXPECT_GE(part("scheduler", "hog"), 0.3 * part("eevdf", "hog")) << "and the other is not starved.";
}

// Cpusets that do not overlap and together are all CPUs: nobody runs where he may not, and every CPU is used.
void expectCover(ktstr::Context& ctx) {
  const Work work = spinWait(ctx.shape().cpus());
  ctx.run(Scenario("disjoint", "two tenants on halves")
              .step(Step("run")
                        .cgroup(Cgroup("first").cpuset(part(0, 2)).work(work))
                        .cgroup(Cgroup("second").cpuset(part(1, 2)).work(work)))
              .assertions([](auto to) { to.setIsolation(ktstr::rpc::Choice::YES); }));
  std::set<uint32_t> used;
  for (const auto worker : ctx.last().workers({}))
    used.insert(worker.getCpusSeen().begin(), worker.getCpusSeen().end());
  EXPECT_EQ(used.size(), ctx.topology().vcpus());
}

}  // namespace

KTSTR_TEST(flatcg_isolates_the_sensitive_tenant, {.scheduler = flatcg, .durationMs = 1500}) {
  expectIsolation(ctx);
}
KTSTR_TEST(qmap_isolates_the_sensitive_tenant, {.scheduler = qmap, .durationMs = 1500}) {
  expectIsolation(ctx);
}
KTSTR_TEST(flatcg_keeps_disjoint_cpusets, {.scheduler = flatcg, .durationMs = 1000}) {
  expectCover(ctx);
}
KTSTR_TEST(qmap_keeps_disjoint_cpusets, {.scheduler = qmap, .durationMs = 1000}) {
  expectCover(ctx);
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
