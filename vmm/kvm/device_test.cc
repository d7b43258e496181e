// A host whose /dev/kvm is missing, forbidden, something else, or lacks something: ktstr-vmm says which by
// name.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "protocol/error.h"
#include "protocol/file.h"
#include "vmm/test_client.h"
#include "vmm/test_sandbox.h"
#include "vmm/test_users.h"

namespace ktstr::vmm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// From here on KVM answers 0 to this ioctl of /dev/kvm, with this argument.
void hide(uint32_t request, uint32_t argument) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),  // with errno 0
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
  EXPECT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  EXPECT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

// A /dev of this process's own, with null, a copy of ktstr-vmm, and kvm with this mode and number, if any.
void ownDev(mode_t mode, dev_t device) {
  const std::string program = toolPath("ktstr-vmm");
  EXPECT_EQ(unshare(CLONE_NEWNS), 0);
  EXPECT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  EXPECT_EQ(mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755"), 0);
  EXPECT_EQ(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_EQ(chmod("/dev/null", 0666), 0);
  if (device != 0) {
    EXPECT_EQ(mknod("/dev/kvm", S_IFCHR | mode, device), 0);
  }
  std::filesystem::copy(program, "/dev");
  setenv("KTSTR_BIN_DIR", "/dev", 1);
}

// Prints what a client of the VMM is told when it asks for information.
void askForInfo() {
  try {
    TestClient client("ktstr-vmm", {"KTSTR_LOG=error"});
    client.wait(client.vmm().infoRequest().send());
    writeAll(1, std::string_view("told"));
  } catch (const Error& e) {
    writeAll(1, std::string_view(e.what()));
  }
}
std::string infoOn(const std::function<void()>& host) {
  return inSandbox(host, askForInfo).log;
}

class KvmDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "another /dev needs root";
    const Outcome stage = inSandbox([] { ownDev(0, 0); }, [] {});
    if (stage.status != "exit code 0" || !stage.log.empty())
      GTEST_SKIP() << "no /dev of our own: " << stage.log;
  }
};

const dev_t kKvmDevice = makedev(10, 232);

TEST_F(KvmDevice, MissingIsNamedWithTheRemedy) {
  EXPECT_THAT(infoOn([] { ownDev(0, 0); }),
              AllOf(HasSubstr("kvm-missing: open /dev/kvm: No such file"), HasSubstr("--accel tcg")));
}

TEST_F(KvmDevice, ForbiddenIsNamedWithTheRemedy) {
  const auto host = [] {
    ownDev(0600, kKvmDevice);
    EXPECT_EQ(setresuid(kStranger, kStranger, kStranger), 0);
  };
  EXPECT_THAT(infoOn(host), AllOf(HasSubstr("kvm-no-permission: open /dev/kvm: Permission denied"),
                                  HasSubstr("the group kvm")));
}

TEST_F(KvmDevice, SomethingElseIsNamed) {
  EXPECT_THAT(infoOn([] { ownDev(0600, makedev(1, 3)); }), HasSubstr("kvm-failed: "));
}

TEST(KvmCapabilities, EachThatIsMissingIsNamed) {
  if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
#define KTSTR_CAPABILITY(name) \
  { name, #name }
  constexpr std::pair<uint32_t, const char*> needed[] = {
      KTSTR_CAPABILITY(KVM_CAP_USER_MEMORY),    KTSTR_CAPABILITY(KVM_CAP_READONLY_MEM),
      KTSTR_CAPABILITY(KVM_CAP_IRQCHIP),        KTSTR_CAPABILITY(KVM_CAP_PIT2),
      KTSTR_CAPABILITY(KVM_CAP_IRQFD),          KTSTR_CAPABILITY(KVM_CAP_EXT_CPUID),
      KTSTR_CAPABILITY(KVM_CAP_MP_STATE),       KTSTR_CAPABILITY(KVM_CAP_SET_TSS_ADDR),
      KTSTR_CAPABILITY(KVM_CAP_IMMEDIATE_EXIT), KTSTR_CAPABILITY(KVM_CAP_X2APIC_API),
      KTSTR_CAPABILITY(KVM_CAP_HALT_POLL)};
  for (const auto& capability : needed) {
    EXPECT_THAT(infoOn([&] { hide(KVM_CHECK_EXTENSION, capability.first); }),
                AllOf(HasSubstr("kvm-incapable: this KVM has no " + std::string(capability.second) + " "),
                      HasSubstr("--accel tcg")));
  }
  EXPECT_THAT(infoOn([] { hide(KVM_GET_API_VERSION, 0); }), HasSubstr("kvm-incapable: KVM API version 0"));
  EXPECT_THAT(infoOn([] {}), testing::EndsWith("told")) << "with all of them";
}

}  // namespace
}  // namespace ktstr::vmm
