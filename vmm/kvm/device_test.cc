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

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/test_error.h"
#include "vmm/test_client.h"
#include "vmm/test_sandbox.h"
#include "vmm/test_users.h"

namespace ktstr::vmm {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

// From here on this system call is not made, if its second and third argument are these; it answers `errnum`,
// 0 for success.
void intercept(long number, int errnum, std::optional<uint32_t> second = {},
               std::optional<uint32_t> third = {}) {
  std::vector<std::pair<uint32_t, uint32_t>> conditions = {
      {offsetof(seccomp_data, nr), static_cast<uint32_t>(number)}};
  if (second) conditions.emplace_back(offsetof(seccomp_data, args[1]), *second);
  if (third) conditions.emplace_back(offsetof(seccomp_data, args[2]), *third);
  std::vector<sock_filter> code;
  for (size_t i = 0; i < conditions.size(); ++i) {
    const auto over = static_cast<uint8_t>(2 * (conditions.size() - i) - 1);
    code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, conditions[i].first));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, conditions[i].second, 0, over));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(errnum)));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  EXPECT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  EXPECT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

// KVM answers 0 to this ioctl of /dev/kvm, with this argument.
void hide(uint32_t request, uint32_t argument) {
  intercept(SYS_ioctl, 0, request, argument);
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

// What a client is told on that host that boots a machine, placed so, and asks the VMM for more.
std::string bootOn(const std::function<void()>& host,
                   const std::function<void(rpc::Placement::Builder)>& place = {}) {
  const auto boot = [&place] {
    const TestMachine machine(uint64_t{4} << 20, 2);
    TestClient client("ktstr-vmm", {"KTSTR_LOG=error"});
    auto waiting = client.observer().memoryRequest().send();
    std::string said = errorOf([&] {
      auto request = client.bootRequest(machine);
      if (place) place(request.getMachine().initPlacement());
      client.wait(request.send());
    });
    said += "\nobserver: " + errorOf([&] { client.wait(kj::mv(waiting)); });
    said += "\ninfo: " + errorOf([&] { client.wait(client.vmm().infoRequest().send()); });
    writeAll(1, said);
  };
  return inSandbox(host, boot).log;
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
  constexpr std::pair<uint32_t, const char*> needed[] = {KTSTR_CAPABILITY(KVM_CAP_USER_MEMORY),
                                                         KTSTR_CAPABILITY(KVM_CAP_READONLY_MEM),
                                                         KTSTR_CAPABILITY(KVM_CAP_IRQCHIP),
                                                         KTSTR_CAPABILITY(KVM_CAP_PIT2),
                                                         KTSTR_CAPABILITY(KVM_CAP_IRQFD),
                                                         KTSTR_CAPABILITY(KVM_CAP_EXT_CPUID),
                                                         KTSTR_CAPABILITY(KVM_CAP_SET_TSS_ADDR),
                                                         KTSTR_CAPABILITY(KVM_CAP_SET_IDENTITY_MAP_ADDR),
                                                         KTSTR_CAPABILITY(KVM_CAP_IMMEDIATE_EXIT),
                                                         KTSTR_CAPABILITY(KVM_CAP_X2APIC_API),
                                                         KTSTR_CAPABILITY(KVM_CAP_HALT_POLL),
                                                         KTSTR_CAPABILITY(KVM_CAP_SPLIT_IRQCHIP),
                                                         KTSTR_CAPABILITY(KVM_CAP_TSC_DEADLINE_TIMER)};
  for (const auto& capability : needed) {
    EXPECT_THAT(infoOn([&] { hide(KVM_CHECK_EXTENSION, capability.first); }),
                AllOf(HasSubstr("kvm-incapable: this KVM has no " + std::string(capability.second) + " "),
                      HasSubstr("--accel tcg")));
  }
  EXPECT_THAT(infoOn([] { hide(KVM_GET_API_VERSION, 0); }), HasSubstr("kvm-incapable: KVM API version 0"));
  EXPECT_THAT(infoOn([] {}), testing::EndsWith("told")) << "with all of them";
}

// The machine has failed, not the VMM.
std::string after(const std::string& error) {
  return error + "\nobserver: no-machine: no machine: none is booted\ninfo: " + errorOf([] {});
}

TEST(KvmMemory, WhatKvmHasNoneForIsNamedAndTheVmmLivesOn) {
  if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  EXPECT_EQ(bootOn([] { intercept(SYS_ioctl, ENOMEM, KVM_CREATE_VCPU, 1); }),
            after("kvm-failed: KVM_CREATE_VCPU: Cannot allocate memory"));
  EXPECT_EQ(bootOn([] { intercept(SYS_ioctl, ENOMEM, KVM_SET_USER_MEMORY_REGION); }),
            after("kvm-failed: KVM_SET_USER_MEMORY_REGION: Cannot allocate memory"));
}

TEST(KvmPlacementRefused, IdleThatCannotBeKeptIsNamed) {
  if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  EXPECT_THAT(bootOn([] { hide(KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS); },
                     [](rpc::Placement::Builder placement) { placement.setKeepIdle(true); }),
              testing::StartsWith("exits-not-suppressible: this KVM cannot keep HLT and PAUSE in the guest"));
}

TEST(KvmPlacementRefused, WhatIsTakenAndNotDoneIsNamed) {
  if (const std::string why = whyNoKvm(); !why.empty()) GTEST_SKIP() << why;
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one CPU: every thread is pinned";
  EXPECT_THAT(bootOn([] { intercept(SYS_sched_setaffinity, 0); },
                     [](rpc::Placement::Builder placement) { placement.initCpus(2); }),
              ContainsRegex("^pinning-refused: pin vCPU [01] to CPU 0: it is not so when it is read back"));
  EXPECT_THAT(
      bootOn([] { intercept(SYS_sched_setscheduler, 0); },
             [](rpc::Placement::Builder placement) { placement.setPriority(1); }),
      ContainsRegex("^realtime-refused: make vCPU [01] SCHED_FIFO 1: it is not so when it is read back"));
}

}  // namespace
}  // namespace ktstr::vmm
