#include "protocol/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

std::pair<Fd, Fd> makePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  return {Fd(ends[0]), Fd(ends[1])};
}

SpawnOptions shell(const std::string& script) {
  SpawnOptions options;
  options.executable = "/bin/sh";
  options.arguments = {"-c", script};
  return options;
}

std::string readToEnd(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
    all.append(buffer, static_cast<size_t>(got));
  return all;
}

std::string outputOf(SpawnOptions options) {
  auto [out, in] = makePipe();
  options.standardOutput = in.get();
  Child child = spawn(options);
  in.reset();
  std::string output = readToEnd(out.get());
  EXPECT_EQ(describeWaitStatus(child.wait()), "exit code 0");
  return output;
}

std::string spawnError(const SpawnOptions& options) {
  try {
    spawn(options);
  } catch (const Error& error) {
    return error.what();
  }
  return "spawned";
}

TEST(Spawn, PassesArgumentsEnvironmentAndStreams) {
  SpawnOptions options = shell("echo \"$0 $A$B\"; cat");
  options.arguments.push_back("zero");
  options.environment = {"A=1", "B=2"};
  EXPECT_EQ(outputOf(options), "zero 12\n");
  setenv("KTSTR_TEST_INHERITED", "yes", 1);
  EXPECT_EQ(outputOf(shell("echo $KTSTR_TEST_INHERITED")), "yes\n");
}

TEST(Spawn, SendsBothStreamsToOneDescriptor) {
  auto [out, in] = makePipe();
  SpawnOptions options = shell("echo a; echo b >&2");
  options.standardError = in.get();
  options.standardOutput = in.get();
  Child child = spawn(options);
  in.reset();
  EXPECT_EQ(readToEnd(out.get()), "a\nb\n");
}

TEST(Spawn, RemapsDescriptorsThatOverlap) {
  const Fd first(memfd_create("first", MFD_CLOEXEC));
  const Fd second(memfd_create("second", MFD_CLOEXEC));
  SpawnOptions options;
  // Swapped, one of them once more, and one onto the number that the child's own pipe is likely to have.
  options.descriptors = {
      {first.get(), second.get()}, {second.get(), first.get()}, {first.get(), second.get() + 3}};
  options.executable = "/bin/sh";
  options.arguments = {"-c",
                       "for i; do readlink /proc/self/fd/$i; done",
                       "sh",
                       std::to_string(first.get()),
                       std::to_string(second.get()),
                       std::to_string(second.get() + 3)};
  EXPECT_EQ(outputOf(options), "/memfd:second (deleted)\n/memfd:first (deleted)\n/memfd:first (deleted)\n");
}

TEST(Spawn, LeaksNoDescriptor) {
  const Fd leaky(open("/dev/zero", O_RDONLY));  // without O_CLOEXEC
  const Fd high(fcntl(leaky.get(), F_DUPFD, 200));
  SpawnOptions options;
  options.executable = "/bin/ls";
  options.arguments = {"/proc/self/fd"};
  options.descriptors = {{high.get(), 7}};
  EXPECT_EQ(outputOf(options), "0\n1\n2\n3\n7\n");  // 3 is ls's own directory
}

TEST(Spawn, RefusesImpossibleNumbers) {
  SpawnOptions options = shell("true");
  options.descriptors = {{0, 2}};
  EXPECT_THAT(spawnError(options), HasSubstr("spawn-failed: /bin/sh: descriptor number 2 is below 3"));
  options.descriptors = {{0, 5}, {1, 5}};
  EXPECT_THAT(spawnError(options), HasSubstr("descriptor number 5 given twice"));
  options.descriptors = {{12345, 5}};
  EXPECT_THAT(spawnError(options), HasSubstr("hand descriptors to /bin/sh: Bad file descriptor"));
}

TEST(Spawn, ReportsAFailedExec) {
  SpawnOptions options;
  options.executable = "/nonexistent/program";
  EXPECT_EQ(spawnError(options), "spawn-failed: execute /nonexistent/program: No such file or directory");
  options.executable = "/etc/passwd";
  EXPECT_EQ(spawnError(options), "spawn-failed: execute /etc/passwd: Permission denied");
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child was left behind";
}

TEST(Spawn, StartsWithDefaultSignals) {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  const auto handler = signal(SIGPIPE, SIG_IGN);
  SpawnOptions options;
  options.executable = "/bin/grep";
  options.arguments = {"-E", "Sig(Blk|Ign)", "/proc/self/status"};
  // Signals 32 and 33 are the C library's own: it lets nobody set them, and some parents leave them ignored.
  EXPECT_THAT(outputOf(options),
              ::testing::MatchesRegex("SigBlk:\t0000000000000000\nSigIgn:\t0000000[01][08]0000000\n"));
  signal(SIGPIPE, handler);
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(sigismember(&after, SIGTERM), 1) << "the caller's mask was not restored";
}

TEST(Spawn, ChildDiesWithItsParent) {
  auto [out, in] = makePipe();
  const pid_t parent = fork();
  if (parent == 0) {
    SpawnOptions options = shell("echo up; exec sleep 600");
    options.standardOutput = in.get();
    new Child(spawn(options));  // not destroyed
    in.reset();
    char byte;
    (void)!read(out.get(), &byte, 1);
    _exit(0);
  }
  in.reset();
  waitpid(parent, nullptr, 0);
  readToEnd(out.get());  // ends when the grandchild is gone
}

TEST(ChildProcess, IsPolledWaitedForAndRemembered) {
  auto [out, in] = makePipe();
  SpawnOptions options = shell("read line; exit 3");
  options.standardInput = out.get();
  Child child = spawn(options);
  EXPECT_FALSE(child.poll());
  in.reset();
  EXPECT_EQ(describeWaitStatus(child.wait()), "exit code 3");
  EXPECT_EQ(describeWaitStatus(*child.poll()), "exit code 3");
  EXPECT_EQ(describeWaitStatus(child.stop(1000)), "exit code 3");
  EXPECT_FALSE(Child());
}

TEST(ChildProcess, StopsPolitelyThenByForce) {
  auto [out, in] = makePipe();
  SpawnOptions options = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done");
  options.standardOutput = in.get();
  Child polite = spawn(options);
  char byte;
  ASSERT_EQ(read(out.get(), &byte, 1), 1);
  EXPECT_EQ(describeWaitStatus(polite.stop(60'000)), "exit code 7");
  ASSERT_EQ(read(out.get(), &byte, 1), 1);  // the rest of "up\n"
  ASSERT_EQ(read(out.get(), &byte, 1), 1);

  options.arguments[1] = "trap '' TERM; echo up; exec sleep 600";
  Child stubborn = spawn(options);
  ASSERT_EQ(read(out.get(), &byte, 1), 1);
  EXPECT_EQ(describeWaitStatus(stubborn.stop(10)), "killed by SIGKILL");
}

TEST(ChildProcess, DestructionKillsAndReaps) {
  pid_t pid;
  {
    Child child = spawn(shell("exec sleep 600"));
    Child moved = std::move(child);
    pid = moved.pid();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Programs, AreFoundInPathOrRefusedByName) {
  EXPECT_THAT(findProgram("sh").value_or(""), testing::EndsWith("/sh"));
  EXPECT_EQ(findProgram("/bin/sh"), "/bin/sh");
  EXPECT_FALSE(findProgram("ktstr-no-such-program"));
  EXPECT_FALSE(findProgram("/etc/passwd"));
  setenv("KTSTR_BIN_DIR", "/bin", 1);
  EXPECT_EQ(toolPath("sh"), "/bin/sh");
  unsetenv("KTSTR_BIN_DIR");
  try {
    toolPath("ktstr-no-such-program");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "tool-missing");
    EXPECT_THAT(error.hint(), HasSubstr("KTSTR_BIN_DIR"));
  }
}

}  // namespace
}  // namespace ktstr
