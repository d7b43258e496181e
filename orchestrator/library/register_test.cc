// Tests as GoogleTest finds them in a program: this one, executed once more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cache/store.h"
#include "cache/test_images.h"
#include "orchestrator/library/ktstr.h"
#include "orchestrator/library_testing.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// What `tests` say: this program again, with another topology and environment.
std::string saidBy(const std::string& tests, const std::string& topology, const Words& environment = {}) {
  const Fd output = makeMemfd("output", 0);
  SpawnOptions options;
  options.executable = "/proc/self/exe";
  options.arguments = {"--gtest_filter=" + tests};
  options.environment = environment;
  options.environment.push_back("KTSTR_TEST_TOPOLOGY=" + topology);
  options.standardOutput = output.get();
  spawn(options).wait();
  return readAll(output.get());
}

// Only where a test wants it, as what a range stands for is asked when the program starts.
[[maybe_unused]] const bool ofARange =
    getenv("LIBRARY_TEST_RANGE") != nullptr &&
    registerTest("of_a_range", __FILE__, __LINE__, {.kernels = {getenv("LIBRARY_TEST_RANGE"), "debian:6.17"}},
                 [](Context& ctx) { EXPECT_THAT(ctx.kernel(), StartsWith("debian:6.1")); });

// Likewise, as they are judged by what the orchestrator answers.
void runAndGoOn(Context& ctx) {
  ctx.run("steady");
  puts("went on");
}
[[maybe_unused]] const bool ofAnAnswer =
    getenv("LIBRARY_TEST_ANSWERS") != nullptr &&
    registerTest("answered", __FILE__, __LINE__, {}, runAndGoOn) &&
    registerTest("asked_after", __FILE__, __LINE__,
                 {.postVm = [](const RunResult& run) { (void)run.iterations({}); }}, runAndGoOn);

KTSTR_TEST(needs_one_llc, {.constraints = {.maxLlcs = 1}}) {
  EXPECT_EQ(ctx.topology().llcs, 1u);
}

KTSTR_TEST(of_each_kernel, {.kernels = {"debian:7.3", "./my-kernel"}}) {
  EXPECT_THAT(ctx.kernel(), AnyOf("debian:7.3", "./my-kernel"));
}

TEST(Registered, TestsSkipWhereTheTopologyBreaksTheirConstraints) {
  EXPECT_THAT(saidBy("Ktstr.needs_one_llc", "1n1l4c1t"), HasSubstr("[  PASSED  ] 1 test."));
  EXPECT_THAT(
      saidBy("Ktstr.needs_one_llc", "1n2l1c1t"),
      AllOf(HasSubstr("[  SKIPPED ]"), HasSubstr("$KTSTR_TEST_TOPOLOGY: maxLlcs is 1, but 1n2l1c1t has 2")));
}

TEST(Registered, EachKernelIsATestOfItsOwn) {
  EXPECT_THAT(saidBy("Ktstr.of_each_kernel*", "1n1l4c1t"),
              AllOf(HasSubstr("Ktstr.of_each_kernel/debian_7_3"),
                    HasSubstr("Ktstr.of_each_kernel/__my_kernel"), HasSubstr("[  PASSED  ] 2 tests.")));
}

TEST(Registered, EachKernelOfARangeIsATestOfItsOwn) {
  const cache::test::TemporaryDirectory directory;
  // What Debian once said.
  cache::Store::open(directory.path()).setAlias("range", cache::asName("debian:6.16..6.18"), "6.16_6.17");
  const char* set = getenv("KTSTR_BIN_DIR");
  const std::string here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto said = [&](const std::string& range) {
    return saidBy("Ktstr.of_a_range*", "1n1l4c1t",
                  {"LIBRARY_TEST_RANGE=" + range, "KTSTR_CACHE_DIR=" + directory.path(),
                   "KTSTR_BIN_DIR=" + (set != nullptr ? set : here + "/../bin")});
  };
  EXPECT_THAT(said("debian:6.16..6.18"),
              AllOf(HasSubstr("Ktstr.of_a_range/debian_6_16"), HasSubstr("Ktstr.of_a_range/debian_6_17"),
                    HasSubstr("[  PASSED  ] 2 tests.")));
  EXPECT_THAT(said("debian:6.16..newest"),
              AllOf(HasSubstr("[  FAILED  ] Ktstr.of_a_range/debian_6_16__newest"),
                    HasSubstr("kernel-spec-invalid"), HasSubstr("[  PASSED  ] 1 test.")));
}

class Answered : public testing::Test {
 protected:
  std::string said(const std::string& tests, rpc::Outcome outcome, const std::string& finding = "",
                   const std::string& more = "X=") {
    orchestrator_.answer({recordOf(outcome, finding)});
    return saidBy(tests, "1n1l4c1t",
                  {"LIBRARY_TEST_ANSWERS=1", "KTSTR_BIN_DIR=" + orchestrator_.directory(), more});
  }

  TestOrchestrator orchestrator_;
};

TEST_F(Answered, OutcomesAreGoogleTests) {
  EXPECT_THAT(said("Ktstr.answered", rpc::Outcome::PASS),
              AllOf(HasSubstr("went on"), HasSubstr("[  PASSED  ] 1 test.")));
  EXPECT_THAT(said("Ktstr.answered", rpc::Outcome::FAIL, "worker-gap"),
              AllOf(HasSubstr("worker-gap: "), HasSubstr("[  FAILED  ] Ktstr.answered")));
  EXPECT_THAT(
      said("Ktstr.answered", rpc::Outcome::SKIP, "no-such-cpu"),
      AllOf(HasSubstr("no-such-cpu: "), HasSubstr("[  SKIPPED ] Ktstr.answered"), Not(HasSubstr("went on"))));
}

TEST_F(Answered, WhatPostVmThrowsFailsTheTest) {
  EXPECT_THAT(said("Ktstr.asked_after", rpc::Outcome::PASS),
              AllOf(HasSubstr("no-such-work: "), HasSubstr("[  FAILED  ] Ktstr.asked_after"),
                    Not(HasSubstr("went on"))));
}

TEST_F(Answered, ReportsAreWritten) {
  const auto report = [&](const std::string& kind, rpc::Outcome outcome, const std::string& finding) {
    const std::string file = orchestrator_.directory() + "/report." + kind;
    said("Ktstr.answered", outcome, finding, "GTEST_OUTPUT=" + kind + ":" + file);
    return readFile(file);
  };
  EXPECT_THAT(report("xml", rpc::Outcome::FAIL, "worker-gap"),
              AllOf(HasSubstr("<testcase name=\"answered\""), HasSubstr("<failure message="),
                    HasSubstr("worker-gap: ")));
  EXPECT_THAT(
      report("json", rpc::Outcome::FAIL, "worker-gap"),
      AllOf(HasSubstr("\"name\": \"answered\""), HasSubstr("\"failures\": 1"), HasSubstr("worker-gap: ")));
  EXPECT_THAT(report("json", rpc::Outcome::SKIP, "no-such-cpu"), HasSubstr("\"result\": \"SKIPPED\""));
}

TEST_F(Answered, ShardsShareTheTests) {
  std::string all;
  for (const char* shard : {"0", "1"}) {
    all += saidBy("Ktstr.needs_one_llc:Ktstr.of_each_kernel*", "1n1l4c1t",
                  {"GTEST_TOTAL_SHARDS=2", std::string("GTEST_SHARD_INDEX=") + shard});
  }
  for (const char* name : {"needs_one_llc", "of_each_kernel/debian_7_3", "of_each_kernel/__my_kernel"}) {
    const std::string line = std::string("[       OK ] Ktstr.") + name;
    EXPECT_NE(all.find(line), all.npos) << all;
    EXPECT_EQ(all.find(line), all.rfind(line)) << name << " ran twice";
  }
  EXPECT_THAT(all, AllOf(HasSubstr("[  PASSED  ] 2 tests."), HasSubstr("[  PASSED  ] 1 test.")));
}

}  // namespace
}  // namespace ktstr
