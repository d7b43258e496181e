#include "vmm/kvm/probe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "protocol/process.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

struct Outcome {
  std::string status, output;  // describeWaitStatus(), standard output and error
};

// Runs `body` in a child, where a probe has been made and the sandbox closed.
Outcome probing(const std::function<void(KvmProbe&)>& body) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(writer.get(), 1);
    dup2(writer.get(), 2);
    setenv("KTSTR_SANDBOX", "log", 1);
    KvmProbe probe;
    kvmProbeSandbox().lockDown();
    body(probe);
    _exit(0);
  }
  writer.reset();
  Outcome outcome;
  outcome.output = readAll(reader.get());
  int status = 0;
  waitpid(pid, &status, 0);
  outcome.status = describeWaitStatus(status);
  return outcome;
}

TEST(KvmProbe, SaysWhatThisMachinesKvmIsGoodForInBoundedTime) {
  const uint64_t begin = monotonicNs();
  const Outcome outcome = probing([](KvmProbe& probe) {
    const KvmVerdict verdict = probe.run();
    writeAll(1, std::string(kvmKindName(verdict.kind)) + ": " + verdict.detail);
  });
  EXPECT_EQ(outcome.status, "exit code 0") << outcome.output;
  EXPECT_LT(monotonicNs() - begin, 5'000'000'000u);
  EXPECT_THAT(outcome.output, MatchesRegex("(hardware|flat-only|unusable|missing|no-permission): .+"));
  const bool there = access("/dev/kvm", F_OK) == 0;
  EXPECT_EQ(outcome.output.starts_with("missing"), !there) << outcome.output;
  if (!there) GTEST_SKIP() << "no /dev/kvm here: " << outcome.output;
}

TEST(KvmProbe, SandboxAllowsNothingElse) {
  const auto attempt = [](const char* name, const std::function<void()>& call) {
    const Outcome outcome = probing([&](KvmProbe&) { call(); });
    EXPECT_EQ(outcome.status, "killed by SIGSYS") << name;
    EXPECT_THAT(outcome.output, HasSubstr(std::string("forbidden syscall ") + name));
  };
  attempt("openat", [] { (void)!open("/dev/kvm", O_RDWR); });
  attempt("socket", [] { socket(AF_UNIX, SOCK_STREAM, 0); });
  attempt("execve", [] { execl("/bin/true", "true", nullptr); });
  attempt("clone", [] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
  attempt("ioctl", [] { ioctl(0, KVM_CREATE_DEVICE, nullptr); });
  attempt("ioctl", [] { ioctl(0, TIOCSTI, "x"); });
}

}  // namespace
}  // namespace ktstr::vmm
