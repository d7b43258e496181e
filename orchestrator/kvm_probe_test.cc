// The probe on this machine's real /dev/kvm, and where there is none that it could use.
#include "orchestrator/kvm_probe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "orchestrator/machine_link.h"
#include "protocol/error.h"
#include "vmm/test_client.h"
#include "vmm/test_users.h"

namespace ktstr {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

TEST(KvmProbe, JudgesByStepsAndSpeed) {
  const auto line = [](const ProbeSight& sight) { return judge(sight).json(); };
  EXPECT_EQ(
      line({0, "KVM internal error, suberror 1; vCPU 0: rip 0x1000", 0, 0}),
      R"({"kvm":"unusable","detail":"64-bit guest: KVM internal error, suberror 1 after step 0 of 6"})");
  EXPECT_EQ(
      line({4, {}, 0, 0}),
      R"({"kvm":"flat-only","detail":"64-bit guest: no end within 400 ms of CPU time after step 4 of 6"})");
  EXPECT_THAT(line({6, "triple fault", 50'000'000, 50'000'000}), HasSubstr("triple fault after step 6"));
  EXPECT_EQ(judge({6, {}, 50'000'000, 50'000'000}).kind, KvmKind::hardware);  // 2000 MIPS
  EXPECT_EQ(judge({6, {}, 3'000'000, 50'000'000}).kind, KvmKind::hardware);   // 120
  const KvmVerdict slow = judge({6, {}, 50'000, 50'000'000});
  EXPECT_EQ(slow.kind, KvmKind::flatOnly);
  EXPECT_THAT(slow.detail, HasSubstr("runs 2 million instructions per second of CPU time, that is, interp"));
  EXPECT_THAT(line({6, {}, 0, 0}), HasSubstr("the host gave the guest no CPU time"));
}

// The guest asks for nothing that a real CPU does not do.
TEST(KvmProbe, GuestDoesAllItsStepsAndLoopsOnACpuThatCanRunLinux) {
  auto io = kj::setupAsyncIo();
  Fd observe;
  MachineLink vmm(*io.lowLevelProvider, toolPath("ktstr-vmm-tcg"), observe);
  const ProbeGuest guest({});
  vmm.boot(guest.machine(), -1).wait(io.waitScope);
  EXPECT_EQ(guest.steps(), 0u);
  vmm.start().wait(io.waitScope);
  ASSERT_TRUE(vmm::eventually(10'000, [&] { return guest.steps() == ProbeGuest::kSteps; })) << guest.steps();
  EXPECT_TRUE(vmm::eventually(10'000, [&] { return guest.loops() > 1'000'000; })) << guest.loops();
}

bool noChildIsLeft() {
  return waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD;
}

TEST(KvmProbe, SaysWhatThisMachinesKvmIsGoodFor) {
  const KvmVerdict verdict = probeKvm();
  EXPECT_TRUE(noChildIsLeft());
  constexpr const char* line =
      R"re(\{"kvm":"(hardware|flat-only|unusable|missing|no-permission)","detail":".+"\})re";
  EXPECT_THAT(verdict.json(), MatchesRegex(line));
  EXPECT_EQ(verdict.kind == KvmKind::missing, access("/dev/kvm", F_OK) != 0) << verdict.detail;
  if (verdict.kind == KvmKind::hardware || verdict.kind == KvmKind::flatOnly) {
    EXPECT_THAT(verdict.detail,
                MatchesRegex("(64-bit guest: .+ of 6|guest kernel mode runs .+|the host gave .+)"));
  }
}

// A directory of programs with this one as ktstr-vmm, if it is not empty.
class Programs {
 public:
  explicit Programs(const std::string& vmm) {
    char name[] = "/tmp/ktstr-probe-test-XXXXXX";
    directory_ = mkdtemp(name);
    if (!vmm.empty()) {
      const std::string path = directory_ + "/ktstr-vmm";
      std::ofstream(path) << vmm;
      chmod(path.c_str(), 0755);
    }
    if (const char* before = getenv("KTSTR_BIN_DIR")) before_ = before;
    setenv("KTSTR_BIN_DIR", directory_.c_str(), 1);
  }
  ~Programs() {
    before_ ? setenv("KTSTR_BIN_DIR", before_->c_str(), 1) : unsetenv("KTSTR_BIN_DIR");
    std::filesystem::remove_all(directory_);
  }
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;

 private:
  std::string directory_;
  std::optional<std::string> before_;
};

TEST(KvmProbe, NamesAMissingVmm) {
  const Programs none("");
  try {
    probeKvm();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "tool-missing");
    EXPECT_THAT(error.what(), HasSubstr("ktstr-vmm"));
  }
}

TEST(KvmProbe, OutlivesAVmmThatDiesOrHangs) {
  for (const char* vmm : {"#!/bin/sh\nexit 3\n", "#!/bin/sh\nexec sleep 1000\n"}) {
    const Programs programs(vmm);
    const KvmVerdict verdict = probeKvm();
    EXPECT_EQ(verdict.kind, KvmKind::unusable) << vmm;
    EXPECT_THAT(verdict.detail, HasSubstr("ktstr-vmm")) << vmm;
    EXPECT_TRUE(noChildIsLeft());
  }
}

// The probe's line as of a user on the stage of vmm/test_users.h, where a group may open /dev/kvm.
class KvmProbeOnStage : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/dev/kvm", F_OK) != 0) GTEST_SKIP() << "no /dev/kvm here";
    if (const std::string why = vmm::enterStage(); !why.empty()) GTEST_SKIP() << why;
  }
  static std::string probeAs(uid_t user, std::vector<gid_t> groups = {}) {
    return vmm::as(
        user,
        [] {
          setenv("KTSTR_BIN_DIR", "/run/bin", 1);
          return probeKvm().json();
        },
        std::move(groups));
  }
};

TEST_F(KvmProbeOnStage, NamesMissingPermission) {
  const std::string said = probeAs(vmm::kStranger);
  EXPECT_THAT(said, HasSubstr("{\"kvm\":\"no-permission\",\"detail\":\"open /dev/kvm: Permission denied"));
  EXPECT_THAT(probeAs(vmm::kVmm, {vmm::kKvmGroup}), testing::Not(HasSubstr("no-permission")));
}

TEST_F(KvmProbeOnStage, NamesAMissingDevice) {
  const std::string said = vmm::as(0, [] {
    if (unshare(CLONE_NEWNS) != 0 || mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755") != 0 ||
        mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) != 0)
      throw errnoError("stage-failed", "make a /dev without kvm");
    setenv("KTSTR_BIN_DIR", "/run/bin", 1);
    return probeKvm().json();
  });
  EXPECT_THAT(said, HasSubstr("{\"kvm\":\"missing\",\"detail\":\"open /dev/kvm: No such file"));
}

}  // namespace
}  // namespace ktstr
