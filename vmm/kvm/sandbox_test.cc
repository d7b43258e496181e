// Tries forbidden things in each of ktstr-vmm's sandboxes; each attempt dies by SIGSYS and names the syscall.
#include "vmm/kvm/sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/kvm.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"
#include "vmm/kvm/ioctl.h"
#include "vmm/test_sandbox.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;

void settingUp() {
  std::thread([] {}).join();  // as prepareThreads()
  setUpSandbox({}, {97, 99}).lockDown();
}
void serving() {
  servingSandbox({}).lockDown();
}
// A vCPU thread whose vCPU is descriptor 100, with lines 101 and 102 and events 103 to 105.
Sandbox vcpu(std::optional<int> routed = {}) {
  return vcpuSandbox(100, {101, 102}, {103, 104, 105}, routed);
}
void vcpuThread() {
  vcpu().lockDown();
}
void vcpuThreadWithIoApic() {
  vcpu(99).lockDown();
}

#define EXPECT_FORBIDDEN KTSTR_EXPECT_FORBIDDEN

TEST(KvmSandbox, NoRoleReachesFilesNetworkOrOtherProcesses) {
  for (void (*const role)() : {settingUp, serving, vcpuThread}) {
    EXPECT_FORBIDDEN(role, "openat", (void)!open("/dev/kvm", O_RDWR));
    EXPECT_FORBIDDEN(role, "open", syscall(SYS_open, "/dev/null", O_RDONLY));
    EXPECT_FORBIDDEN(role, "socket", socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_FORBIDDEN(role, "connect", connect(0, nullptr, 0));
    EXPECT_FORBIDDEN(role, "execve", execl("/bin/true", "true", nullptr));
    EXPECT_FORBIDDEN(role, "ptrace", ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
    EXPECT_FORBIDDEN(role, "tgkill", syscall(SYS_tgkill, 1, 1, 0));
    EXPECT_FORBIDDEN(role, "memfd_create", memfd_create("x", 0));
    EXPECT_FORBIDDEN(role, "clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    EXPECT_FORBIDDEN(role, "unlink", unlink("/nonexistent"));
    EXPECT_FORBIDDEN(role, "ioctl", ioctl(0, FIONREAD, nullptr));
    EXPECT_FORBIDDEN(role, "mmap",
                     mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_FORBIDDEN(role, "accept4", accept4(0, nullptr, nullptr, 0));
  }
}

TEST(KvmSandbox, SettingUpIsOverOnceAMachineIsThere) {
  const Fd memory = makeMemfd("x", 4096);
  const auto map = [&] { mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0); };
  EXPECT_EQ(inSandbox(settingUp, map).status, "exit code 0");
  EXPECT_FORBIDDEN(serving, "mmap", map());
  EXPECT_FORBIDDEN(serving, "ioctl", ioctl(0, KVM_CREATE_VM, 0));
  EXPECT_FORBIDDEN(serving, "ioctl", ioctl(0, KVM_SET_USER_MEMORY_REGION, nullptr));
  EXPECT_FORBIDDEN(serving, "ioctl", ioctl(0, KVM_RUN, 0));
  EXPECT_FORBIDDEN(serving, "seccomp", syscall(SYS_seccomp, 0, 0, nullptr));
}

TEST(KvmSandbox, SettingUpIsOfTheVmsThatAreThereAlone) {
  EXPECT_EQ(inSandbox(settingUp, [] { ioctl(97, KVM_CREATE_VCPU, 0); }).status, "exit code 0");
  EXPECT_EQ(inSandbox(settingUp, [] { ioctl(99, KVM_CREATE_VCPU, 0); }).status, "exit code 0");
  EXPECT_FORBIDDEN(settingUp, "ioctl", ioctl(98, KVM_CREATE_VCPU, 0));
  EXPECT_FORBIDDEN(settingUp, "ioctl", ioctl(98, KVM_SET_USER_MEMORY_REGION, nullptr));
  EXPECT_FORBIDDEN(settingUp, "ioctl", ioctl(98, KVM_ENABLE_CAP, nullptr));
  EXPECT_FORBIDDEN(settingUp, "ioctl", ioctl(98, KVM_IRQFD, nullptr));
  EXPECT_FORBIDDEN(settingUp, "ioctl", ioctl(99, KVM_CREATE_IRQCHIP, nullptr));
}

TEST(KvmSandbox, ThreadsOfOneKindAlone) {
  const Outcome threads = inSandbox(settingUp, [] { std::thread([] {}).join(); });
  EXPECT_EQ(threads.status, "exit code 0") << threads.log;
  EXPECT_FORBIDDEN(settingUp, "clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  EXPECT_FORBIDDEN(serving, "clone3", syscall(SYS_clone3, nullptr, 0));
}

TEST(KvmSandbox, AVcpuThreadKeepsToItsOwnDescriptors) {
  EXPECT_EQ(inSandbox(vcpuThread, [] { ioctl(100, KVM_RUN, 0); }).status, "exit code 0");
  EXPECT_FORBIDDEN(vcpuThread, "ioctl", ioctl(99, KVM_RUN, 0));
  EXPECT_FORBIDDEN(vcpuThread, "ioctl", ioctl(100, KVM_SET_REGS, nullptr));
  EXPECT_FORBIDDEN(vcpuThread, "ioctl", ioctl(100, KVM_SET_SREGS, nullptr));
  EXPECT_FORBIDDEN(vcpuThread, "sendto", send(99, "x", 1, 0));
  EXPECT_FORBIDDEN(vcpuThread, "recvfrom", (void)!recv(99, nullptr, 0, 0));
  EXPECT_FORBIDDEN(vcpuThread, "write", (void)!write(1, "x", 1));
  EXPECT_FORBIDDEN(vcpuThread, "read", (void)!read(0, nullptr, 0));
  EXPECT_FORBIDDEN(vcpuThread, "close", close(100));
  EXPECT_FORBIDDEN(vcpuThread, "fcntl", fcntl(100, F_GETFL));
  EXPECT_FORBIDDEN(vcpuThread, "recvmsg", (void)!recvmsg(100, nullptr, 0));
  EXPECT_FORBIDDEN(vcpuThread, "seccomp", syscall(SYS_seccomp, 0, 0, nullptr));
}

TEST(KvmSandbox, AVcpuThreadRoutesInterruptsOnlyWhereTheIoApicIsOurs) {
  EXPECT_FORBIDDEN(vcpuThread, "ioctl", ioctl(99, kSetGsiRouting, nullptr));
  EXPECT_EQ(inSandbox(vcpuThreadWithIoApic, [] { ioctl(99, kSetGsiRouting, nullptr); }).status,
            "exit code 0");
  EXPECT_FORBIDDEN(vcpuThreadWithIoApic, "ioctl", ioctl(100, kSetGsiRouting, nullptr));
  EXPECT_FORBIDDEN(vcpuThreadWithIoApic, "ioctl", ioctl(99, KVM_SIGNAL_MSI, nullptr));
  EXPECT_FORBIDDEN(vcpuThreadWithIoApic, "ioctl", ioctl(99, KVM_SET_USER_MEMORY_REGION, nullptr));
}

TEST(KvmSandbox, IsAsSmallAsItSays) {
  EXPECT_LE(vcpu(99).syscallCount(), 18u);
  for (const std::string& line : vcpu().describe()) {
    if (line.starts_with("ioctl")) {
      EXPECT_THAT(line, HasSubstr("arg0==100 arg1==")) << "a pinned descriptor and number";
    }
  }
  for (const std::string& line : servingSandbox({}).describe())
    EXPECT_FALSE(line.starts_with("ioctl")) << line;
}

TEST(KvmSandbox, IsPrintedRoleByRole) {
  const Fd output = makeMemfd("output", 0);
  SpawnOptions options;
  options.executable = toolPath("ktstr-vmm");
  options.arguments = {"--print-seccomp"};
  options.standardOutput = output.get();
  EXPECT_EQ(spawn(options).wait(), 0);
  const std::string printed = readAll(output.get());
  for (const auto& [role, sandbox] : {std::pair{"setting up", setUpSandbox({-1}, {-1})},
                                      {"serving", servingSandbox({-1})},
                                      {"vCPU thread", vcpuSandbox(-1, {-1, -1}, {-1, -1, -1}, -1)}}) {
    EXPECT_THAT(printed, HasSubstr(text("# ", role, ": ", sandbox.syscallCount(), " syscalls\n",
                                        sandbox.describe().front(), '\n')));
  }
}

}  // namespace
}  // namespace ktstr::vmm
