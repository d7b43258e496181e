#include "kbuild/recipe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::kbuild {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::StartsWith;

Tools someTools() {
  Tools tools;
  tools.make = "/usr/bin/make";
  tools.compiler = "/usr/bin/gcc";
  tools.clang = "/usr/bin/clang-22";
  tools.llvmStrip = "/usr/bin/llvm-strip-22";
  tools.clangVersion = "clang version 22.1.8";
  tools.compilerVersion = "gcc 12.2.0";
  tools.staticLibraries = {"-lelf", "-lz", "-lpthread"};
  return tools;
}

const Layout layout{"/s/source", "/s/build", "/s/home", "/c/btf"};

TEST(Recipe, KeyChangesWithEverythingThatMakesOtherBinaries) {
  const Tools tools = someTools();
  const std::string key = entryKey("source", "btf", tools);
  EXPECT_EQ(key, entryKey("source", "btf", tools));
  EXPECT_THAT(key, StartsWith("scx-"));
  EXPECT_NE(key, entryKey("source2", "btf", tools));
  EXPECT_NE(key, entryKey("source", "btf2", tools));
  Tools newer = tools;
  newer.clangVersion = "clang version 23.0.0";
  EXPECT_NE(key, entryKey("source", "btf", newer));
  newer = tools;
  newer.compilerVersion = "gcc 14.2.0";
  EXPECT_NE(key, entryKey("source", "btf", newer));
  newer = tools;
  newer.clang = "/opt/llvm/bin/clang";  // the same compiler in another place
  EXPECT_EQ(key, entryKey("source", "btf", newer));
  EXPECT_NE(key, entryKey("source", "btf", tools, "own"));
  EXPECT_NE(entryKey("source", "btf", tools, "own"), entryKey("source", "btf", tools, "own2"));
}

TEST(Recipe, MakesInTheTreeWithTheToolsFound) {
  const Command command = makeCommand(someTools(), layout, 3);
  EXPECT_EQ(command.executable, "/usr/bin/make");
  EXPECT_THAT(command.arguments, ElementsAre("--no-print-directory", "-C", "/s/source/tools/sched_ext", "-j3",
                                             "CLANG=/usr/bin/clang-22", "LLVM_STRIP=/usr/bin/llvm-strip-22",
                                             "VMLINUX_BTF=/c/btf", "O=/s/build"));
}

TEST(Recipe, MakesTheSchedulersNamedInPlaceOfTheTrees) {
  EXPECT_THAT(makeCommand(someTools(), layout, 1, {"scx_a", "scx_b"}).arguments,
              Contains("c-sched-targets=scx_a scx_b"));
}

TEST(Recipe, GivesCommandsAnEnvironmentOfTheirOwn) {
  setenv("MAKEFLAGS", "--eval=evil", 1);
  const Command command = makeCommand(someTools(), layout, 1);
  unsetenv("MAKEFLAGS");
  EXPECT_THAT(command.environment, Contains("HOME=/s/home"));
  EXPECT_THAT(command.environment, Contains("TMPDIR=/s/home"));
  EXPECT_THAT(command.environment, Contains(StartsWith("PATH=")));
  EXPECT_THAT(command.environment, Not(Contains(StartsWith("MAKEFLAGS"))));
}

TEST(Recipe, LinksStatically) {
  const Command command = linkCommand(someTools(), layout, "scx_qmap", "/out/scx_qmap");
  EXPECT_THAT(command.arguments,
              ElementsAre("-static", "-o", "/out/scx_qmap", "/s/build/build/obj/sched_ext/scx_qmap.o",
                          "/s/build/build/obj/libbpf/libbpf.a", "-lelf", "-lz", "-lpthread"));
}

TEST(Recipe, FindsSchedulersByTheirTwoHalves) {
  const TestDirectory source;
  source.make("tools");
  source.make("tools/sched_ext");
  for (const char* file : {"scx_b.c", "scx_b.bpf.c", "scx_a.c", "scx_a.bpf.c", "scx_half.bpf.c", "scx_tool.c",
                           "other.c", "other.bpf.c", "scx_a.h"}) {
    openFile(source / "tools/sched_ext/" + file, O_CREAT | O_WRONLY, 0644);
  }
  EXPECT_THAT(schedulersIn(source / "."), ElementsAre("scx_a", "scx_b"));
}

TEST(Recipe, NamesASourceWithoutSchedulers) {
  const TestDirectory source;
  try {
    schedulersIn(source / ".");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "sched-ext-missing");
    EXPECT_EQ(error.code(), ExitCode::usage);
  }
}

}  // namespace
}  // namespace ktstr::kbuild
