#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/library/ktstr.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

KTSTR_SCHEDULER(mitosis, {.binary = "scx_mitosis",
                          .topology = {.nodes = 1, .llcs = 2, .cores = 4},
                          .args = {"-v"},
                          .environment = {"RUST_LOG=info"}});
// With all in the order in which authors think of it.
KTSTR_SCHEDULER(in_order, {.binary = "scx_mitosis",
                           .topology = {1, 2, 4, 1},
                           .args = {"--exit-dump-len", "1048576"},
                           .configFile = {"cells.json"},
                           .kernels = {"debian:7.3"},
                           .assertions = {[](auto to) { to.setMaxGapMs(500); }},
                           .constraints = {.minLlcs = 2}});

std::string shapeOf(const TestSpec& spec) {
  return topologyOf(spec).toString();
}

TEST(Declare, TopologyIsTheTestsThenTheSchedulers) {
  EXPECT_EQ(shapeOf({}), "1n1l2c1t");
  EXPECT_EQ(shapeOf({.scheduler = mitosis}), "1n2l4c1t");
  EXPECT_EQ(shapeOf({.scheduler = in_order}), "1n2l4c1t");
  EXPECT_EQ(shapeOf({.scheduler = mitosis, .llcs = 4, .threads = 2}), "1n4l4c2t");
  EXPECT_EQ(shapeOf({.topology = "2l512M,1l256M,0l256M,2c1t"}), "2l512M,1l256M,0l256M,2c1t");
  EXPECT_THAT(errorOf([] { topologyOf({.nodes = 2, .llcs = 3}); }), HasSubstr("topology-invalid"));
  EXPECT_THAT(errorOf([] { topologyOf({.llcs = 2, .topology = "1n1l1c1t"}); }), HasSubstr("test-invalid"));
}

TEST(Declare, WordsAreThoseOfARun) {
  const TestSpec spec{.scheduler = mitosis, .memoryMib = 1024, .extraArgs = {"--x"}};
  EXPECT_THAT(runWords(spec, topologyOf(spec), "debian:6.18"),
              ElementsAre("run", "-", "--format", "jsonl", "--topology", "1n2l4c1t", "--kernel",
                          "debian:6.18", "--accel", "auto", "--memory", "1024M", "--scheduler", "scx_mitosis",
                          "--env", "RUST_LOG=info", "--", "-v", "--x"));
  EXPECT_THAT(runWords({}, topologyOf({}), "k"), Not(Contains("--scheduler")));
  EXPECT_EQ(mitosis.name, "mitosis");
}

KTSTR_SCHEDULER(full, {.binary = "scx_x",
                       .args = {"-v"},
                       .configFile = "layers.json",
                       .cgroupParent = "/tenants",
                       .sysctls = {"kernel.a=1"},
                       .kernelArgs = {"preempt=full"},
                       .includeFiles = {"one"},
                       .kernels = {"debian:7.3", "debian:6.18"},
                       .constraints = {.maxLlcs = 4, .minCpus = 2}});
KTSTR_SCHEDULER(features, {.switches = {.enable = {"/sys/x=NO_A"}, .disable = {"/sys/x=A"}}});
KTSTR_CONFIGURED_SCHEDULER(layered, "--config {file} -x", "/etc/layers.json",
                           {.binary = "scx_layered", .args = {"-v"}});

// What has no configuration takes none, and what has one does not do without.
static_assert(!std::is_convertible_v<const ConfiguredScheduler&, SchedulerRef>);
static_assert(std::is_convertible_v<const Scheduler&, SchedulerRef>);
template <typename T>
constexpr bool takesConfig = requires(T scheduler) {
  static_cast<T>(scheduler).with(std::string());
};
static_assert(takesConfig<const ConfiguredScheduler&> && !takesConfig<const Scheduler&>);
// Nor does one that would be gone before the test runs.
static_assert(!std::is_constructible_v<SchedulerRef, Scheduler>);
static_assert(!std::is_constructible_v<SchedulerRef, const Scheduler>);
static_assert(!takesConfig<ConfiguredScheduler>);

Words wordsOf(const TestSpec& spec) {
  const Words all = runWords(spec, topologyOf(spec), "k");
  return {all.begin() + 10, all.end()};
}

TEST(Declare, SchedulersAndTestsFieldsGoTogether) {
  EXPECT_THAT(wordsOf({.scheduler = full,
                       .extraArgs = {"--x"},
                       .sysctls = {"kernel.b=2"},
                       .kernelArgs = {"nohz_full=1"},
                       .bpfMapWrites = {".data:x=1"},
                       .includeFiles = {"two"},
                       .binaries = {"/usr/bin/env"},
                       .watchdogTimeoutMs = 5000,
                       .cleanupBudgetMs = 500}),
              ElementsAre("--sysctl", "kernel.a=1", "--sysctl", "kernel.b=2", "--kernel-arg", "preempt=full",
                          "--kernel-arg", "nohz_full=1", "--map-write", ".data:x=1", "--include", "one",
                          "--include", "two", "--include", "/usr/bin/env:/ktstr/bin/env", "--cgroup-parent",
                          "/tenants", "--watchdog-timeout", "5000ms", "--cleanup-budget", "500ms",
                          "--scheduler", "scx_x", "--scheduler-config", "layers.json", "--", "-v", "--x"));
  EXPECT_THAT(wordsOf({.scheduler = features}),
              ElementsAre("--enable", "/sys/x=NO_A", "--disable", "/sys/x=A"));
  EXPECT_THAT(wordsOf({.scheduler = layered.with("{}")}),
              ElementsAre("--scheduler", "scx_layered", "--file", "/etc/layers.json={}", "--", "--config",
                          "/etc/layers.json", "-x", "-v"));
}

TEST(Declare, KernelsAreTheTestsThenTheSchedulersThenTheEnvironments) {
  EXPECT_THAT(kernelsOf({.scheduler = full, .kernels = {"./vmlinux"}}), ElementsAre("./vmlinux"));
  EXPECT_THAT(kernelsOf({.scheduler = full}), ElementsAre("debian:7.3", "debian:6.18"));
  setenv("KTSTR_TEST_KERNEL", "debian:6.18", 1);
  EXPECT_THAT(kernelsOf({}), ElementsAre("debian:6.18"));
  unsetenv("KTSTR_TEST_KERNEL");
  EXPECT_THAT(kernelsOf({}), ElementsAre("debian:7.3"));
}

KTSTR_SCHEDULER(sampled, {.binary = "scx_x", .snapshots = 4});

TEST(Declare, SnapshotsAreTheTestsThenTheSchedulers) {
  EXPECT_EQ(snapshotsOf({}), 0u);
  EXPECT_EQ(snapshotsOf({.scheduler = sampled}), 4u);
  EXPECT_EQ(snapshotsOf({.scheduler = sampled, .snapshots = 0}), 0u);
  EXPECT_EQ(snapshotsOf({.scheduler = sampled, .snapshots = 64}), 64u);
}

TEST(Declare, ConstraintsAreTheTestsThenTheSchedulers) {
  const auto broken = [](const TestSpec& spec, const char* topology) {
    return brokenConstraint(spec, parseTopology(topology)).value_or("");
  };
  EXPECT_EQ(broken({.scheduler = full}, "1n8l1c1t"), "maxLlcs is 4, but 1n8l1c1t has 8");
  EXPECT_EQ(broken({.scheduler = full, .constraints = {.maxLlcs = 8}}, "1n8l1c1t"), "");
  EXPECT_EQ(broken({.scheduler = full}, "1n1l1c1t"), "minCpus is 2, but 1n1l1c1t has 1");
  EXPECT_EQ(broken({.constraints = {.minNodes = 2}}, "1n2l1c1t"), "minNodes is 2, but 1n2l1c1t has 1");
  EXPECT_EQ(broken({.constraints = {.requiresSmt = true}}, "1n1l2c1t"),
            "requiresSmt is set, but 1n1l2c1t has one thread per core");
  EXPECT_EQ(broken({.constraints = {.requiresSmt = true}}, "1n1l2c2t"), "");
  EXPECT_THAT(errorOf([] { topologyOf({.scheduler = full, .llcs = 5}); }),
              HasSubstr("test-invalid: maxLlcs is 4, but 1n5l2c1t has 5"));
}

TEST(Declare, WhatContradictsItselfNamesBothSides) {
  const Scheduler both = {.binary = "x", .switches = {.enable = {"/a=1"}, .disable = {"/a=0"}}};
  const Scheduler half = {.switches = {.enable = {"/a=1"}}};
  const Scheduler argued = {.args = {"-v"}}, filed = {.configFile = "x"};
  const ConfiguredScheduler dropped = {{.binary = "x"}, "--config", "/etc/x"};
  const ConfiguredScheduler relative = {{.binary = "x"}, "{file}", "etc/x"};
  const std::pair<TestSpec, const char*> wrong[] = {
      {{.extraArgs = {"--x"}}, "extraArgs are given, but no scheduler"},
      {{.bpfMapWrites = {".data:x=1"}}, "bpfMapWrites are given, but no scheduler"},
      {{.watchdogTimeoutMs = 5000}, "watchdogTimeoutMs is given, but no scheduler"},
      {{.performanceMode = true, .noPerfMode = true}, "performanceMode and noPerfMode"},
      {{.scheduler = both}, "a binary and switches"},
      {{.scheduler = half}, "switches.enable is given, but not the other"},
      {{.scheduler = argued}, "args are given, but no binary"},
      {{.scheduler = filed}, "configFile is given, but no binary"},
      {{.scheduler = dropped.with("{}")}, "do not name {file}"},
      {{.scheduler = relative.with("{}")}, "is not absolute"},
      {{.scheduler = layered.with("")}, "the configuration is empty"},
      {{.constraints = {.minCpus = 4, .maxCpus = 2}}, "minCpus is 4, but maxCpus is 2"},
      {{.constraints = {.maxLlcs = 0}}, "maxLlcs is 0"},
      {{.llcs = 2, .constraints = {.maxLlcs = 1}}, "maxLlcs is 1, but 1n2l2c1t has 2"},
      {{.durationMs = 0}, "durationMs is 0"},
      {{.workers = 0}, "workers is 0"},
      {{.scheduler = mitosis, .tries = 0}, "tries is 0"},
      {{.expectError = true, .expectFinding = "x"}, "expectFinding and expectError"},
      {{.scheduler = mitosis, .hostOnly = true}, "hostOnly and scheduler"},
      {{.llcs = 2, .hostOnly = true}, "hostOnly and a topology"},
      {{.kernels = {"x"}, .hostOnly = true}, "hostOnly and kernels"},
      {{.snapshots = 1, .hostOnly = true}, "hostOnly and snapshots"},
  };
  for (const auto& each : wrong) {
    EXPECT_THAT(errorOf([&] { checkSpec(each.first); }),
                AllOf(HasSubstr("test-invalid: "), HasSubstr(each.second)))
        << each.second;
  }
}

// Two workers in step "first", one in "second", one in the backdrop.
std::string sampleRecord() {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  auto workers = record.initWorkers(4);
  const auto set = [&](unsigned i, uint32_t step, const char* cgroup, uint64_t iterations) {
    workers[i].setStep(step);
    workers[i].setCgroup(cgroup);
    workers[i].setWork("spin");
    workers[i].setIterations(iterations);
    workers[i].setWallNs(2'000'000'000);
    workers[i].setRunDelayNs(10);
  };
  set(0, 0, "a", 100);
  set(1, 0, "a", 200);
  set(2, 1, "a", 400);
  set(3, rpc::BACKDROP_STEP, "b", 800);
  auto verdict = record.initVerdict();
  verdict.setOutcome(rpc::Outcome::FAIL);
  auto finding = verdict.initFindings(1)[0];
  finding.setName("worker-gap");
  finding.setMessage("a/spin[0] waited 5 ms");
  finding.setHint("look there");
  return toJson(record.asReader());
}

TEST(RunResultTest, SumsWhatIsChosen) {
  const RunResult run(sampleRecord(), {"first", "second"});
  EXPECT_EQ(run.iterations({}), 1500u);
  EXPECT_EQ(run.iterations({.step = "first"}), 300u);
  EXPECT_EQ(run.iterations({.step = "second", .cgroup = "a", .work = "spin"}), 400u);
  EXPECT_EQ(run.iterations({.step = "backdrop"}), 800u);
  EXPECT_EQ(run.runDelayNs({.cgroup = "a"}), 30u);
  EXPECT_DOUBLE_EQ(run.iterationsPerSecond({.step = "first"}), 150.0);
  EXPECT_THAT(
      errorOf([&] { run.iterations({.cgroup = "c"}); }),
      HasSubstr("no worker of step \"\", cgroup \"c\", work \"\" (there are: backdrop/b/spin, first/a/spin, "
                "second/a/spin)"));
}

TEST(RunResultTest, SaysWhy) {
  const RunResult run(sampleRecord(), {"first", "second"});
  EXPECT_EQ(run.outcome(), rpc::Outcome::FAIL);
  EXPECT_TRUE(run.hasFinding("worker-gap"));
  EXPECT_FALSE(run.hasFinding("worker-starved"));
  EXPECT_THAT(run.reasons(), HasSubstr("worker-gap: a/spin[0] waited 5 ms\n  look there"));
}

TEST(RunResultTest, IsTriedAgainWhereItSaysNothing) {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  auto verdict = record.initVerdict();
  verdict.initFindings(1)[0].setName("host-starved");
  const auto again = [&](const TestSpec& spec, rpc::Outcome outcome) {
    verdict.setOutcome(outcome);
    return mayTryAgain(spec, RunResult(toJson(record.asReader()), {}));
  };
  EXPECT_TRUE(again({}, rpc::Outcome::INCONCLUSIVE));
  for (const auto outcome : {rpc::Outcome::PASS, rpc::Outcome::FAIL, rpc::Outcome::SKIP})
    EXPECT_FALSE(again({}, outcome)) << kj::str(outcome).cStr();
  EXPECT_FALSE(again({.expectFinding = "host-starved"}, rpc::Outcome::INCONCLUSIVE)) << "as expected";
  EXPECT_TRUE(again({.expectFinding = "worker-gap"}, rpc::Outcome::INCONCLUSIVE));
}

TEST(RunResultTest, SaysThatACrashWasNotReproduced) {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  const auto said = [&] { return RunResult(toJson(record.asReader()), {}).notReproduced(); };
  auto finding = record.initVerdict().initFindings(1)[0];
  finding.setName("worker-gap");
  finding.setOutcome(rpc::Outcome::FAIL);
  EXPECT_EQ(said(), "") << "nothing was written";
  auto writes = record.initMapWrites(3);
  writes[0].setAsked(".bss:early=1");  // of --map-write
  for (unsigned i : {1U, 2U}) writes[i].setOfOperation(true);
  writes[1].setAsked(".bss:fault=7");
  writes[2].setAsked(".bss:nothing=7");
  writes[2].setFailure("path-invalid");
  EXPECT_EQ(said(), "crash-not-reproduced: the host wrote .bss:fault=7, and the scheduler went on\n");
  for (const char* name : {"scheduler-exited", "kernel-panic"}) {
    finding.setName(name);
    EXPECT_EQ(said(), "");
  }
  finding.setName("kernel-warning");
  finding.setOutcome(rpc::Outcome::PASS);
  EXPECT_NE(said(), "") << "a remark";
}

TEST(Context, NamesWhatCannotBeRun) {
  const TestSpec spec{.llcs = 1};
  Context context(spec, "debian:7.3");
  EXPECT_EQ(context.shape().durationMs, 2000u);
  EXPECT_THAT(errorOf([&] { context.last(); }), HasSubstr("not-run"));
  EXPECT_THAT(errorOf([&] { context.run("no_such"); }), HasSubstr("scenario-unknown"));
  EXPECT_THAT(errorOf([&] { context.run("steady_llc"); }),
              HasSubstr("scenario-does-not-fit: steady_llc needs 2 LLCs"));
}

TEST(Say, Payloads) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  say::Scenario("x", "")
      .step(say::Step("run")
                .cgroup(say::Cgroup("a").work(say::spinWait(1)))
                .op(say::runPayload("list", "ls", {"-l", "/"}, "a"))
                .op(say::waitPayload("list", 500))
                .op(say::killPayload("list")))
      .write(scenario);
  EXPECT_THAT(toJson(scenario.asReader()),
              AllOf(HasSubstr(R"({"runPayload":{"name":"list","binary":"ls","args":["-l","/"],"cgroup":"a")"),
                    HasSubstr(R"({"waitPayload":{"name":"list","timeoutMs":500}},{"killPayload":"list"}])")));
}

// Its machine is none.
KTSTR_TEST(host_only_runs_the_body_alone, {.hostOnly = true}) {
  EXPECT_THAT(errorOf([&] { ctx.run("steady"); }), HasSubstr("test-invalid: hostOnly and ctx.run()"));
}

TEST(Context, AnotherTopologyReplacesTheDeclaredOne) {
  const TestSpec spec{.constraints = {.maxLlcs = 1}};
  setenv("KTSTR_TEST_TOPOLOGY", "1n1l4c1t", 1);
  EXPECT_EQ(Context(spec, "k").topology().toString(), "1n1l4c1t");
  unsetenv("KTSTR_TEST_TOPOLOGY");
  EXPECT_EQ(Context(spec, "k").topology().toString(), "1n1l2c1t");
}

}  // namespace
}  // namespace ktstr
