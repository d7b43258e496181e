// The library as an author uses it: installed, built against with plain make and with CMake, run, discovered.
#include <gtest/gtest.h>

#include <filesystem>

#include "protocol/file.h"
#include "protocol/process.h"
#include "tests/system/harness.h"

namespace ktstr::testing {
namespace {

struct Ended {
  int status = -1;
  std::string said;
};

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) found++;
  return found;
}

Ended shell(const std::string& script, const std::string& prefix) {
  const Fd output = makeMemfd("output", 0);
  SpawnOptions options;
  options.executable = "/bin/sh";
  options.arguments = {"-c", script};
  options.environment = {"PATH=" + prefix + "/bin:" + getenv("PATH"),
                         "PKG_CONFIG_PATH=" + prefix + "/lib/pkgconfig"};
  for (const char* kept : {"HOME", "KTSTR_CACHE_DIR", "KTSTR_STATE_DIR"}) {
    if (const char* value = getenv(kept)) options.environment.push_back(std::string(kept) + "=" + value);
  }
  options.standardOutput = options.standardError = output.get();
  const int status = spawn(options).wait();
  return {status, readAll(output.get())};
}

// An installed copy, once, and the example beside it.
class Library : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory();
    prefix_ = directory_->path() + "/prefix";
    example_ = directory_->path() + "/example";
    std::filesystem::copy("tests/example", example_);
    const std::string build = std::filesystem::path(binary("ktstr")).parent_path().parent_path();
    installed_ = shell("make BUILD=" + build + " PREFIX=" + prefix_ + " install-built", prefix_);
  }
  static void TearDownTestSuite() { delete directory_; }
  void SetUp() override { ASSERT_EQ(installed_.status, 0) << installed_.said; }

  static TemporaryDirectory* directory_;
  static std::string prefix_, example_;
  static Ended installed_;
};
TemporaryDirectory* Library::directory_ = nullptr;
std::string Library::prefix_, Library::example_;
Ended Library::installed_;

TEST_F(Library, ExampleIsBuiltByPlainMakeAndTestsSchedulers) {
  const Ended built = shell("make -C " + example_, prefix_);
  ASSERT_EQ(built.status, 0) << built.said;
  const Ended listed = shell(example_ + "/tenants_test --gtest_list_tests", prefix_);
  EXPECT_NE(listed.said.find("Ktstr.\n  two_tenants_get_what_eevdf_gives"), std::string::npos) << listed.said;
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_KERNEL("debian:6.18");
  KTSTR_NEED_SCHEDULER("scx_flatcg");
  const Ended ran = shell(
      "PATH=$(dirname $(ktstr scheduler path scx_simple)):$PATH " + example_ + "/tenants_test", prefix_);
  if (ran.status != 0 && count(ran.said, ": Failure\n") == count(ran.said, "\ninconclusive; ")) {
    GTEST_SKIP() << "the host is starved, or the emulated machine stalled: " << ran.said;
  }
  EXPECT_EQ(ran.status, 0) << ran.said;
  EXPECT_NE(ran.said.find("[  PASSED  ] 4 tests."), std::string::npos) << ran.said;
}

TEST_F(Library, ExampleIsBuiltByCMakeAndFoundByCTest) {
  if (!findProgram("cmake")) GTEST_SKIP() << "there is no cmake (make deps installs it)";
  const Ended built =
      shell("cmake -S " + example_ + " -B " + example_ + "/build -DCMAKE_PREFIX_PATH=" + prefix_ +
                " && cmake --build " + example_ + "/build",
            prefix_);
  ASSERT_EQ(built.status, 0) << built.said;
  const Ended found = shell("cd " + example_ + "/build && ctest -N", prefix_);
  EXPECT_NE(found.said.find("Ktstr.disjoint_cpusets_cover_the_machine"), std::string::npos) << found.said;
  EXPECT_NE(found.said.find("Total Tests: 4"), std::string::npos) << found.said;
}

}  // namespace
}  // namespace ktstr::testing
