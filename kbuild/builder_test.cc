#include "kbuild/builder.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A source tree in miniature: its Makefile makes the kit's part and the objects that the recipe links.
constexpr const char* kitMakefile =
    "$(O)/build/sbin/bpftool:\n"
    "\tmkdir -p $(@D) $(O)/build/obj/libbpf $(O)/build/obj/libelf; echo made >> $@\n"
    "\tar rcs $(O)/build/obj/libbpf/libbpf.a; touch $(O)/build/obj/libelf/left-behind\n";
constexpr const char* goodMakefile =
    "all: $(O)/build/sbin/bpftool\n"
    "\t[ \"$$(cat $(O)/build/sbin/bpftool)\" = made ]  # once, and not again\n"
    "\t[ ! -e $(O)/build/obj/libelf ]\n"
    "\tmkdir -p $(O)/build/obj/sched_ext $(O)/build/obj/libbpf\n"
    "\tgcc -c scx_tiny.c -o $(O)/build/obj/sched_ext/scx_tiny.o\n"
    "\tar rcs $(O)/build/obj/libbpf/libbpf.a $(O)/build/obj/sched_ext/scx_tiny.o\n";

class Builder : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* each : {"make", "gcc", "ar"}) {
      if (!findProgram(each)) GTEST_SKIP() << each << " is not installed";
    }
    tools_.make = findProgram("make").value();
    tools_.compiler = findProgram("gcc").value();
    tools_.setsid = findProgram("setsid").value();
    tools_.staticLibraries = {"-lpthread"};
    request_ = {.archive = directory_ / "linux.tar.xz",
                .btf = "/dev/null",
                .output = directory_.make("output"),
                .scratch = directory_.make("scratch"),
                .failureLog = directory_ / "failed/key.log",
                .jobs = 2};
  }
  std::vector<std::string> build(const std::string& makefile) {
    writeArchive(request_.archive, {{"linux/tools/sched_ext/Makefile", makefile + kitMakefile},
                                    {"linux/tools/sched_ext/scx_tiny.c", "int main(void) { return 42; }\n"},
                                    {"linux/tools/sched_ext/scx_tiny.bpf.c", ""}});
    Progress progress;
    buildKit(request_, tools_, interrupts_, progress);
    EXPECT_TRUE(fs::is_empty(request_.scratch));
    fs::rename(request_.output + "/" + kitFile, directory_ / kitFile);
    fs::remove(request_.output + "/build.log");
    request_.archive = directory_ / kitFile;
    return buildSchedulers(request_, tools_, interrupts_, progress);
  }

  TestDirectory directory_;
  Interrupts interrupts_;
  Tools tools_;
  BuildRequest request_;
};

TEST_F(Builder, MakesStaticProgramsAndLeavesOnlyThem) {
  EXPECT_THAT(build(goodMakefile), ElementsAre("scx_tiny"));
  EXPECT_TRUE(fs::is_empty(request_.scratch));
  EXPECT_EQ(std::distance(fs::directory_iterator(request_.output), fs::directory_iterator()), 2);
  EXPECT_THAT(readFile(request_.output + "/build.log"), HasSubstr("gcc -c scx_tiny.c"));
  SpawnOptions options;
  options.executable = request_.output + "/scx_tiny";
  EXPECT_EQ(describeWaitStatus(spawn(options).wait()), "exit code 42");
  EXPECT_FALSE(fs::exists(request_.failureLog));
}

// A tree whose Makefile has the kernel's variable.
constexpr const char* listMakefile =
    "c-sched-targets = scx_tiny scx_other\n"
    "all:\n"
    "\tmkdir -p $(O)/build/obj/sched_ext $(O)/build/obj/libbpf\n"
    "\tfor each in $(c-sched-targets); do gcc -c $$each.c -o $(O)/build/obj/sched_ext/$$each.o || exit; "
    "done\n"
    "\tar rcs $(O)/build/obj/libbpf/libbpf.a\n";

TEST_F(Builder, MakesTheUsersOwnSchedulerAndNoneOfTheTrees) {
  request_.own = {.schedulers = {"scx_mine"},
                  .files = {{"mine.h", "#define CODE 43\n"},
                            {"scx_mine.bpf.c", ""},
                            {"scx_mine.c", "#include \"mine.h\"\nint main(void) { return CODE; }\n"}},
                  .digest = "own"};
  EXPECT_THAT(build(listMakefile), ElementsAre("scx_mine"));
  EXPECT_FALSE(fs::exists(request_.output + "/scx_tiny"));
  SpawnOptions options;
  options.executable = request_.output + "/scx_mine";
  EXPECT_EQ(describeWaitStatus(spawn(options).wait()), "exit code 43");
}

TEST_F(Builder, SaysWhatTheCompilerSaidOfTheUsersOwnScheduler) {
  request_.own = {.schedulers = {"scx_mine"},
                  .files = {{"scx_mine.bpf.c", ""}, {"scx_mine.c", "int main(void) { return wrong; }\n"}},
                  .digest = "own"};
  try {
    build(listMakefile);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "build-failed");
    EXPECT_THAT(error.message(), HasSubstr("scx_mine.c:1"));
    EXPECT_THAT(error.message(), HasSubstr("wrong"));
  }
}

TEST_F(Builder, KeepsTheLogOfABrokenTree) {
  try {
    build("all:\n\t@echo this tree is broken\n\t@false\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "build-failed");
    EXPECT_THAT(error.message(), HasSubstr("this tree is broken"));
    EXPECT_THAT(error.message(), HasSubstr("exit code 2"));
    EXPECT_THAT(error.hint(), HasSubstr(request_.failureLog));
  }
  EXPECT_THAT(readFile(request_.failureLog), HasSubstr("this tree is broken"));
  EXPECT_TRUE(fs::is_empty(request_.scratch));
}

TEST_F(Builder, SaysWhatTheLinkerMisses) {
  try {
    build("all:\n\tmkdir -p $(O)/build/obj\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "build-failed");
    EXPECT_THAT(error.message(), HasSubstr("scx_tiny.o"));
  }
}

TEST_F(Builder, GivesUpWhenInterrupted) {
  raise(SIGINT);  // blocked; waits to be asked for
  EXPECT_THROW(build(goodMakefile), Interrupted);
  EXPECT_TRUE(fs::is_empty(request_.scratch));
}

}  // namespace
}  // namespace ktstr::kbuild
