// The library as an author uses it: installed, built against with plain make and with CMake, run, discovered.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

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

// For a failure's text. What begins a line of ours shall not be taken for it: "[ RUN      ]", for one.
std::string quoted(const Ended& ended) {
  std::string text;
  std::istringstream lines(ended.said);
  for (std::string line; std::getline(lines, line);) text += "\n> " + line;
  return text;
}

bool hasCMake() {
  return findProgram("cmake").has_value();
}

// The test of the example that CTest runs, where there is one; the others the program runs itself.
std::string ofCTest() {
  return "Ktstr.qmap_keeps_disjoint_cpusets";
}

bool showsNothing(const Ended& ran) {
  return ran.status != 0 && count(ran.said, ": Failure\n") == count(ran.said, "\ninconclusive; ");
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
  void SetUp() override { ASSERT_EQ(installed_.status, 0) << quoted(installed_); }

  static TemporaryDirectory* directory_;
  static std::string prefix_, example_;
  static Ended installed_;
};
TemporaryDirectory* Library::directory_ = nullptr;
std::string Library::prefix_, Library::example_;
Ended Library::installed_;

TEST_F(Library, ExampleIsBuiltByPlainMakeAndTestsSchedulers) {
  const Ended built = shell("make -C " + example_, prefix_);
  ASSERT_EQ(built.status, 0) << quoted(built);
  const Ended listed = shell(example_ + "/tenants_test --gtest_list_tests", prefix_);
  EXPECT_NE(listed.said.find("Ktstr.\n  flatcg_isolates_the_sensitive_tenant"), std::string::npos)
      << quoted(listed);
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_KERNEL("debian:6.18");
  KTSTR_NEED_SCHEDULER("scx_flatcg");
  const Ended ran = shell("PATH=$(dirname $(ktstr scheduler path scx_simple)):$PATH " + example_ +
                              "/tenants_test" + (hasCMake() ? " --gtest_filter=-" + ofCTest() : ""),
                          prefix_);
  if (showsNothing(ran))
    GTEST_SKIP() << "the host is starved, or the emulated machine stalled: " << quoted(ran);
  EXPECT_EQ(ran.status, 0) << quoted(ran);
  EXPECT_NE(ran.said.find(hasCMake() ? "[  PASSED  ] 5 tests." : "[  PASSED  ] 6 tests."), std::string::npos)
      << quoted(ran);
}

TEST_F(Library, ExampleIsBuiltByCMakeAndFoundByCTest) {
  if (!hasCMake()) GTEST_SKIP() << "there is no cmake (make deps installs it)";
  const Ended built =
      shell("cmake -S " + example_ + " -B " + example_ + "/build -DCMAKE_PREFIX_PATH=" + prefix_ +
                " && cmake --build " + example_ + "/build",
            prefix_);
  ASSERT_EQ(built.status, 0) << quoted(built);
  const Ended found = shell("cd " + example_ + "/build && ctest -N", prefix_);
  EXPECT_NE(found.said.find(ofCTest()), std::string::npos) << quoted(found);
  EXPECT_NE(found.said.find("Total Tests: 6"), std::string::npos) << quoted(found);
  KTSTR_NEED_KERNEL("debian:7.3");
  KTSTR_NEED_SCHEDULER("scx_qmap");
  const Ended ran =
      shell("cd " + example_ + "/build && ctest --output-on-failure -R '^" + ofCTest() + "$'", prefix_);
  if (showsNothing(ran))
    GTEST_SKIP() << "the host is starved, or the emulated machine stalled: " << quoted(ran);
  EXPECT_EQ(ran.status, 0) << quoted(ran);
  EXPECT_NE(ran.said.find("100% tests passed, 0 tests failed out of 1"), std::string::npos) << quoted(ran);
  // And one that fails is one that CTest calls failed: nothing is asked of any machine.
  const Ended failed =
      shell("cd " + example_ + "/build && KTSTR_TEST_TOPOLOGY=none ctest -R '^" + ofCTest() + "$'", prefix_);
  EXPECT_NE(failed.status, 0) << quoted(failed);
  EXPECT_NE(failed.said.find("0% tests passed, 1 tests failed out of 1"), std::string::npos)
      << quoted(failed);
}

}  // namespace
}  // namespace ktstr::testing
