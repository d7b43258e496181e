#include "vmm/kvm/probe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/fd.h"
#include "vmm/test_sandbox.h"

namespace ktstr::vmm {
namespace {

using testing::MatchesRegex;

KvmProbe* probe = nullptr;

void probing() {
  probe = new KvmProbe;
  kvmProbeSandbox().lockDown();
}

TEST(KvmProbe, SaysWhatThisMachinesKvmIsGoodForInBoundedTime) {
  const uint64_t begin = monotonicNs();
  const Outcome outcome = inSandbox(probing, [] {
    const KvmVerdict verdict = probe->run();
    writeAll(1, std::string(kvmKindName(verdict.kind)) + ": " + verdict.detail);
  });
  EXPECT_EQ(outcome.status, "exit code 0") << outcome.log;
  EXPECT_LT(monotonicNs() - begin, 5'000'000'000u);
  EXPECT_THAT(outcome.log, MatchesRegex("(hardware|flat-only|unusable|missing|no-permission): .+"));
  const bool there = access("/dev/kvm", F_OK) == 0;
  EXPECT_EQ(outcome.log.starts_with("missing"), !there) << outcome.log;
  if (!there) GTEST_SKIP() << "no /dev/kvm here: " << outcome.log;
}

TEST(KvmProbe, SandboxAllowsNothingElse) {
  KTSTR_EXPECT_FORBIDDEN(probing, "openat", (void)!open("/dev/kvm", O_RDWR));
  KTSTR_EXPECT_FORBIDDEN(probing, "socket", socket(AF_UNIX, SOCK_STREAM, 0));
  KTSTR_EXPECT_FORBIDDEN(probing, "execve", execl("/bin/true", "true", nullptr));
  KTSTR_EXPECT_FORBIDDEN(probing, "clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  KTSTR_EXPECT_FORBIDDEN(probing, "ioctl", ioctl(0, KVM_CREATE_DEVICE, nullptr));
  KTSTR_EXPECT_FORBIDDEN(probing, "ioctl", ioctl(0, TIOCSTI, "x"));
}

}  // namespace
}  // namespace ktstr::vmm
