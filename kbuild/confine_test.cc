#include "kbuild/confine.h"
#include "protocol/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "kbuild/command.h"
#include "kbuild/recipe.h"
#include "kbuild/test_archive.h"
#include "protocol/process.h"

namespace ktstr::kbuild {
namespace {

// Runs `attempt` in a confined child process; returns its wait status.
template <typename Attempt>
int confined(Attempt attempt) {
  const pid_t pid = fork();
  if (pid == 0) {
    try {
      buildSandbox("kbuild-test").lockDown();
      attempt();
      _exit(0);
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(100);
    }
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

template <typename Attempt>
void expectKilled(const char* what, Attempt attempt) {
  const int status = confined(attempt);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
      << what << ": " << describeWaitStatus(status);
}

int shell(const char* script) {
  SpawnOptions options;
  options.executable = "/bin/bash";
  options.arguments = {"-c", script};
  options.environment = buildEnvironment("/nowhere");
  return spawn(options).wait();
}

TEST(BuildSandbox, KillsWhatABuildHasNoBusinessDoing) {
  expectKilled("socket AF_INET", [] { socket(AF_INET, SOCK_STREAM, 0); });
  expectKilled("socket AF_UNIX", [] { socket(AF_UNIX, SOCK_STREAM, 0); });
  expectKilled("mount", [] { mount("none", "/mnt", "tmpfs", 0, nullptr); });
  expectKilled("ptrace", [] { ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  expectKilled("bpf", [] { syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 0); });
  expectKilled("unshare", [] { unshare(CLONE_NEWUSER); });
  expectKilled("reboot", [] { reboot(RB_DISABLE_CAD); });
  expectKilled("init_module", [] { syscall(SYS_init_module, nullptr, 0, ""); });
  expectKilled("kexec_load", [] { syscall(SYS_kexec_load, 0, 0, nullptr, 0); });
  expectKilled("keyctl", [] { syscall(SYS_keyctl, 0, 0, 0, 0, 0); });
  expectKilled("setuid to another", [] { syscall(SYS_setuid, getuid() + 1); });
  expectKilled("TIOCSTI", [] { syscall(SYS_ioctl, 0, 0x5412, ""); });
  expectKilled("clone with a namespace", [] { syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0); });
}

TEST(BuildSandbox, HoldsForWhatTheBuildStarts) {
  const int status = confined([] {
    // Each of the two shells is killed; 159 is what its parent shell says of a child that died of SIGSYS.
    const int network = shell("(: < /dev/tcp/127.0.0.1/9); exit $?");
    const int mounting = shell("(mount -t tmpfs none /mnt); exit $?");
    const int plain = shell("(exit 7); exit $?");
    if (WEXITSTATUS(network) != 128 + SIGSYS) _exit(1);
    if (WEXITSTATUS(mounting) != 128 + SIGSYS) _exit(2);
    if (WEXITSTATUS(plain) != 7) _exit(3);
  });
  EXPECT_EQ(status, 0) << describeWaitStatus(status);
}

TEST(BuildSandbox, LetsCompilersAndMakeWork) {
  const auto make = findProgram("make"), gcc = findProgram("gcc");
  if (!make || !gcc) GTEST_SKIP() << "make or gcc is not installed";
  const TestDirectory directory;
  writeAll(openFile(directory / "Makefile", O_CREAT | O_WRONLY, 0644).get(),
           "all: a\n\tinstall -D -m 644 a.c sub/a.c\n\t./a\n\tpython3 -c 'print(1)'\n"
           "a: a.c\n\t$(CC) -o $@ $<\n");
  writeAll(openFile(directory / "a.c", O_CREAT | O_WRONLY, 0644).get(), "int main(void) { return 0; }\n");
  const int status = confined([&] {
    const Interrupts interrupts;
    CommandRunner runner(findProgram("setsid").value(), directory / "log", interrupts, {});
    runner.run({*make, {"-C", directory / ".", "-j2", "CC=" + *gcc}, buildEnvironment(directory / ".")});
  });
  EXPECT_EQ(status, 0) << describeWaitStatus(status) << "\n" << readFile(directory / "log");
}

TEST(BuildSandbox, NamesTheCallInLogMode) {
  const TestDirectory directory;
  const Fd log = openFile(directory / "stderr", O_CREAT | O_RDWR, 0644);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(log.get(), STDERR_FILENO);
    buildSandbox("kbuild-test").lockDown();
    mount("none", "/mnt", "tmpfs", 0, nullptr);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << describeWaitStatus(status);
  EXPECT_NE(readFile(directory / "stderr").find("kbuild-test: seccomp: forbidden syscall mount("),
            std::string::npos);
}

}  // namespace
}  // namespace ktstr::kbuild
