// Tries what the orchestrator must not be able to do once it is locked down.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "orchestrator/run.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr {
namespace {

struct Attempt {
  const char* syscall;
  std::function<void()> act;
};

// The wait status of a child that locks itself down and then acts, and what it wrote to stderr.
std::pair<int, std::string> confined(const std::function<void()>& act) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd read(ends[0]);
  Fd write(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(write.get(), STDERR_FILENO);
    orchestratorSandbox(-1).lockDown();
    act();
    _exit(0);
  }
  write.reset();
  std::string said = readAll(read.get());
  int status = 0;
  waitpid(pid, &status, 0);
  return {status, said};
}

TEST(OrchestratorSandbox, KillsWhatItForbidsAndNamesIt) {
  const Attempt attempts[] = {
      {"openat", [] { open("/etc/passwd", O_RDONLY); }},
      {"socket", [] { socket(AF_INET, SOCK_STREAM, 0); }},
      {"socketpair",
       [] {
         int ends[2];
         (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
       }},
      {"execve", [] { execl("/bin/true", "true", nullptr); }},
      {"clone", [] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"ioctl",
       [] {
         int value;
         ioctl(0, FIONREAD, &value);
       }},
      {"ptrace", [] { ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
      {"mprotect", [] { mprotect(reinterpret_cast<void*>(0x10000), 4096, PROT_READ | PROT_EXEC); }},
      {"setuid", [] { (void)!setuid(0); }},
  };
  for (const Attempt& attempt : attempts) {
    const auto [status, said] = confined(attempt.act);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        << attempt.syscall << ": " << describeWaitStatus(status);
    EXPECT_NE(said.find(attempt.syscall), std::string::npos) << said;
  }
}

TEST(OrchestratorSandbox, AllowsWhatARunNeeds) {
  const auto [status, said] = confined([] {
    const Fd memory = makeMemfd("ram", 1 << 20);
    const Mapping mapping(memory.get(), 0, 1 << 20, PROT_READ | PROT_WRITE);
    mapping.data()[0] = std::byte{1};
    if (pwrite(memory.get(), "x", 1, 4096) != 1) _exit(1);
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << describeWaitStatus(status) << said;
}

}  // namespace
}  // namespace ktstr
