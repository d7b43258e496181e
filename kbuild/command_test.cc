#include "kbuild/command.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <optional>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr::kbuild {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CommandRun : public ::testing::Test {
 protected:
  Command shell(const std::string& script) { return {"/bin/sh", {"-c", script}, {"PATH=/usr/bin:/bin"}}; }
  std::string log() { return readFile(directory_ / "log"); }

  TestDirectory directory_;
  Interrupts interrupts_;
  std::function<void()> onWait_;
  CommandRunner runner_{findProgram("setsid").value(), directory_ / "log", interrupts_, [this] {
                          if (onWait_) onWait_();
                        }};
};

TEST_F(CommandRun, LogsBothOutputsAndTheCommand) {
  runner_.run(shell("echo out; echo err >&2"));
  runner_.run(shell("echo again"));
  EXPECT_EQ(log(), "$ /bin/sh -c echo out; echo err >&2\nout\nerr\n$ /bin/sh -c echo again\nagain\n");
}

TEST_F(CommandRun, FailureShowsTheEndOfTheLog) {
  try {
    runner_.run(shell("seq 100; exit 3"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "build-failed");
    EXPECT_THAT(error.message(), HasSubstr("exit code 3"));
    EXPECT_THAT(error.message(), HasSubstr("  | 81\n"));
    EXPECT_THAT(error.message(), HasSubstr("  | 100\n"));
    EXPECT_THAT(error.message(), Not(HasSubstr("  | 80\n")));
  }
}

TEST_F(CommandRun, LeavesNoProcessBehind) {
  runner_.run(shell("sleep 1000 & echo $! > " + (directory_ / "pid")));
  const pid_t pid = std::stoi(readFile(directory_ / "pid"));
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST_F(CommandRun, InterruptEndsTheWholeSession) {
  onWait_ = [] { kill(getpid(), SIGTERM); };
  const auto script = "trap '' TERM; sleep 1000 & echo $! > " + (directory_ / "pid") + "; wait";
  std::optional<int> signal;
  try {
    runner_.run(shell(script));
  } catch (const Interrupted& interrupted) {
    signal = interrupted.signal;
  }
  EXPECT_EQ(signal, SIGTERM);
  if (const auto pid = readFileIfThere(directory_ / "pid"); pid && !pid->empty()) {
    EXPECT_EQ(kill(std::stoi(*pid), 0), -1);
  }
}

TEST(LastLines, KeepsTheLastOnesShort) {
  EXPECT_EQ(lastLines("a\nb\nc\n", 2), "  | b\n  | c\n");
  EXPECT_EQ(lastLines("a\nb", 5), "  | a\n  | b\n");
  EXPECT_EQ(lastLines("", 5), "");
  EXPECT_EQ(lastLines(std::string(1000, 'x'), 1).size(), 405u);
}

TEST(OutputOf, IsEmptyOnFailure) {
  EXPECT_EQ(outputOf("/bin/sh", {"-c", "echo hello"}), "hello\n");
  EXPECT_EQ(outputOf("/bin/sh", {"-c", "echo hello; exit 1"}), "");
}

}  // namespace
}  // namespace ktstr::kbuild
