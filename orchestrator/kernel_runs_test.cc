#include "orchestrator/kernel_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/store.h"
#include "cache/test_images.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class KernelRuns : public testing::Test {
 protected:
  KernelRuns() {
    setenv("KTSTR_CACHE_DIR", directory.path().c_str(), 1);
    // What Debian once said.
    cache::Store::open().setAlias("range", cache::asName("debian:6.16..7.0"), "6.16_6.18_7.0");
  }
  ~KernelRuns() override { unsetenv("KTSTR_CACHE_DIR"); }

  const cache::test::TemporaryDirectory directory;
};

TEST_F(KernelRuns, ARangeIsItsKernelsAndEachIsThereOnce) {
  EXPECT_THAT(expandKernels({"debian:7.3"}), ElementsAre("debian:7.3"));
  EXPECT_THAT(expandKernels({"debian:7.0", "debian:6.16..7.0", "./vmlinux", "debian:6.18"}),
              ElementsAre("debian:7.0", "debian:6.16", "debian:6.18", "./vmlinux"));
  EXPECT_THAT(errorOf([] { expandKernels({"debian:6.16..7"}); }), HasSubstr("kernel-spec-invalid"));
}

// None of them boots: what is to be run is not there.
TEST_F(KernelRuns, TheWorstOfAllEndsIsTheirs) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(runOnEach({"debian:6.16", "debian:6.18"},
                      {"run", "no-such-scenario", "--kernel", "debian:6.16..7.0"}, ""),
            2);
  const std::string said = testing::internal::GetCapturedStderr();
  const size_t first = said.find("scenario-unreadable");
  EXPECT_NE(said.find("scenario-unreadable", first + 1), said.npos) << said;
}

TEST_F(KernelRuns, EachHasTheScenarioOfStandardInput) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(runOnEach({"./a", "./b"}, {"run", "-", "--kernel=./a", "--kernel", "./b", "--", "--kernel", "x"},
                      "{ no JSON"),
            2);
  const std::string said = testing::internal::GetCapturedStderr();
  const size_t first = said.find("json-invalid");
  EXPECT_NE(said.find("json-invalid", first + 1), said.npos) << said;
}

}  // namespace
}  // namespace ktstr
