#include "kbuild/tools.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::kbuild {
namespace {

using ::testing::HasSubstr;

// A PATH of our making, with programs that print a line.
class ToolSearch : public ::testing::Test {
 protected:
  ToolSearch() : path_(getenv("PATH")) {
    setenv("PATH", (directory_ / ".").c_str(), 1);
    for (const char* name : {"make", "gcc", "ld", "python3", "setsid"}) add(name, name);
  }
  ~ToolSearch() override { setenv("PATH", path_.c_str(), 1); }

  void add(const std::string& name, const std::string& line) {
    writeAll(openFile(directory_ / name, O_CREAT | O_WRONLY, 0755).get(),
             "#!/bin/sh\necho '" + line + "'\necho more\n");
  }
  void addClang(const std::string& suffix, const std::string& version) {
    add("clang" + suffix, "Debian clang version " + version);
    add("llvm-strip" + suffix, "strip");
  }
  std::string failure() {
    try {
      findTools();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing thrown";
  }

  TestDirectory directory_;
  std::string path_;
};

TEST_F(ToolSearch, PrefersTheVersionThatIsKnownToWork) {
  for (const int version : {16, 19, 22, 23})
    addClang("-" + std::to_string(version), std::to_string(version) + ".1.0");
  const Tools tools = findTools();
  EXPECT_THAT(tools.clang, HasSubstr("clang-22"));
  EXPECT_THAT(tools.llvmStrip, HasSubstr("llvm-strip-22"));
  EXPECT_EQ(tools.clangMajor, 22);
  EXPECT_EQ(tools.clangVersion, "Debian clang version 22.1.0");
  EXPECT_EQ(tools.compilerVersion, "gcc");
}

TEST_F(ToolSearch, PrefersNewerToOlder) {
  addClang("-19", "19.1.0");
  addClang("-24", "24.0.0");
  EXPECT_EQ(findTools().clangMajor, 24);
}

TEST_F(ToolSearch, TakesAnUnversionedClangIfItIsNewEnough) {
  addClang("", "17.0.6");
  EXPECT_EQ(findTools().clangMajor, 17);
}

TEST_F(ToolSearch, NamesAMissingClang) {
  EXPECT_THAT(failure(), HasSubstr("clang-missing"));
  EXPECT_THAT(failure(), HasSubstr("no clang in PATH"));
  EXPECT_THAT(failure(), HasSubstr("apt-get install clang-22"));
}

TEST_F(ToolSearch, SaysWhichClangIsTooOld) {
  addClang("", "14.0.6");
  EXPECT_THAT(failure(), HasSubstr("clang-missing"));
  EXPECT_THAT(failure(), HasSubstr("Debian clang version 14.0.6"));
}

TEST_F(ToolSearch, NeedsTheMatchingStrip) {
  add("clang-22", "clang version 22.1.0");
  EXPECT_THAT(failure(), HasSubstr("no llvm-strip-22"));
}

TEST_F(ToolSearch, NamesOtherMissingTools) {
  addClang("-22", "22.1.0");
  unlink((directory_ / "python3").c_str());
  EXPECT_THAT(failure(), HasSubstr("build-tool-missing: python3 is not in PATH"));
}

TEST(ClangVersion, IsReadFromItsFirstLine) {
  EXPECT_EQ(clangMajor("Debian clang version 22.1.8 (1~deb12u1)"), 22);
  EXPECT_EQ(clangMajor("clang version 17.0.6"), 17);
  EXPECT_EQ(clangMajor("clang version next"), std::nullopt);
  EXPECT_EQ(clangMajor("clang version 9999999999.1"), std::nullopt);
  EXPECT_EQ(clangMajor("gcc 12"), std::nullopt);
  EXPECT_EQ(clangMajor(""), std::nullopt);
}

}  // namespace
}  // namespace ktstr::kbuild
