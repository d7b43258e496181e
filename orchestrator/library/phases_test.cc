#include "orchestrator/library/phases.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orchestrator/library/context.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

const char* const recordText = R"({"timeline":[
  {"name":"run","scheduler":"simple","startMs":10,"durationMs":500,"all":{"workers":4,"iterations":700},
   "cgroups":[{"cgroup":"a","workers":2,"iterations":500,"iterationsPerSecond":1000,"cpuShare":1.5,"runDelayMs":3},
              {"cgroup":"b/c","workers":2,"iterations":200}],
   "stimuli":[{"kind":"stepStarted","detail":"run"},{"kind":"opApplied","detail":"freezeCgroup b"}]},
  {"name":"run: detachScheduler","scheduler":"eevdf","stimuli":[{"kind":"schedulerDetached","detail":"simple"}]}]})";

TEST(Phases, areFoundByNameAndByWhatBeganThem) {
  const RunResult result(recordText, {"run"});
  EXPECT_EQ(result.phases().size(), 2U);
  const PhaseResult run = result.phase("run");
  EXPECT_EQ(run.scheduler(), "simple");
  EXPECT_EQ(run.startMs(), 10);
  EXPECT_EQ(run.durationMs(), 500);
  EXPECT_EQ(run.all().iterations, 700U);
  EXPECT_EQ(run.cgroup("a").iterationsPerSecond, 1000);
  EXPECT_EQ(run.cgroup("a").cpuShare, 1.5);
  EXPECT_EQ(run.cgroup("a").runDelayMs, 3);
  EXPECT_EQ(run.cgroup("b/c").workers, 2U);
  EXPECT_TRUE(std::isnan(run.cgroup("b/c").iterationsPerSecond)) << "not in the record";
  EXPECT_EQ(result.phase("freezeCgroup b").name(), "run");
  EXPECT_EQ(result.phase("simple").scheduler(), "eevdf");
}

TEST(Phases, thatAreNotThereAreNamed) {
  const RunResult result(recordText, {"run"});
  EXPECT_THAT(
      errorOf([&] { result.phase("after"); }),
      HasSubstr("no-such-phase: the run has no phase \"after\" (there are: run, run: detachScheduler)"));
  EXPECT_THAT(errorOf([&] { result.phase("run").cgroup("c"); }), HasSubstr("there are: a, b/c"));
  EXPECT_THAT(errorOf([&] { RunResult("{}", {}).phase("run"); }), HasSubstr("there are none"));
}

}  // namespace
}  // namespace ktstr
