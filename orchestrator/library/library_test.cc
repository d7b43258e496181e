#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orchestrator/library/ktstr.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

KTSTR_SCHEDULER(mitosis, {.binary = "scx_mitosis",
                          .args = {"-v"},
                          .environment = {"RUST_LOG=info"},
                          .topology = {.nodes = 1, .llcs = 2, .cores = 4}});

std::string shapeOf(const TestSpec& spec) {
  return topologyOf(spec).toString();
}

TEST(Declare, TopologyIsTheTestsThenTheSchedulers) {
  EXPECT_EQ(shapeOf({}), "1n1l2c1t");
  EXPECT_EQ(shapeOf({.scheduler = mitosis}), "1n2l4c1t");
  EXPECT_EQ(shapeOf({.scheduler = mitosis, .llcs = 4, .threads = 2}), "1n4l4c2t");
  EXPECT_EQ(shapeOf({.topology = "2l512M,1l256M,0l256M,2c1t"}), "2l512M,1l256M,0l256M,2c1t");
  EXPECT_THAT(errorOf([] { topologyOf({.nodes = 2, .llcs = 3}); }), HasSubstr("topology-invalid"));
  EXPECT_THAT(errorOf([] { topologyOf({.llcs = 2, .topology = "1n1l1c1t"}); }), HasSubstr("test-invalid"));
}

TEST(Declare, WordsAreThoseOfARun) {
  const TestSpec spec{.scheduler = mitosis, .kernel = "debian:6.18", .memoryMib = 1024, .extraArgs = {"--x"}};
  EXPECT_THAT(runWords(spec, topologyOf(spec)),
              ElementsAre("run", "-", "--format", "jsonl", "--topology", "1n2l4c1t", "--kernel",
                          "debian:6.18", "--accel", "auto", "--memory", "1024M", "--scheduler", "scx_mitosis",
                          "--env", "RUST_LOG=info", "--", "-v", "--x"));
  EXPECT_THAT(runWords({}, topologyOf({})), Not(Contains("--scheduler")));
  EXPECT_THAT(errorOf([] { runWords({.extraArgs = {"--x"}}, {}); }), HasSubstr("test-invalid: extraArgs"));
  EXPECT_THAT(errorOf([] { runWords({.performanceMode = true, .noPerfMode = true}, {}); }),
              HasSubstr("test-invalid"));
  EXPECT_EQ(mitosis.name, "mitosis");
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

TEST(Context, NamesWhatCannotBeRun) {
  const TestSpec spec{.llcs = 1};
  Context context(spec);
  EXPECT_EQ(context.shape().durationMs, 2000u);
  EXPECT_THAT(errorOf([&] { context.last(); }), HasSubstr("not-run"));
  EXPECT_THAT(errorOf([&] { context.run("no_such"); }), HasSubstr("scenario-unknown"));
  EXPECT_THAT(errorOf([&] { context.run("steady_llc"); }),
              HasSubstr("scenario-does-not-fit: steady_llc needs 2 LLCs"));
}

}  // namespace
}  // namespace ktstr
