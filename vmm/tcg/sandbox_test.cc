// Tries forbidden things in the VMM's own sandbox; each attempt dies by SIGSYS and names the syscall.
#include "vmm/tcg/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/fd.h"
#include "protocol/file.h"
#include "vmm/guest_memory.h"
#include "vmm/test_sandbox.h"

namespace ktstr::vmm {
namespace {

void lockDown() {
  tcgSandbox(-1, {}).lockDown();
}

#define EXPECT_FORBIDDEN(name, ...) KTSTR_EXPECT_FORBIDDEN(lockDown, name, __VA_ARGS__)

TEST(TcgSandbox, ForbiddenCallsDieByName) {
  EXPECT_FORBIDDEN("open", syscall(SYS_open, "/dev/null", O_RDONLY));
  EXPECT_FORBIDDEN("openat", (void)!open("/dev/kvm", O_RDWR));
  EXPECT_FORBIDDEN("socket", socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_FORBIDDEN("socket", socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_FORBIDDEN("connect", connect(0, nullptr, 0));
  EXPECT_FORBIDDEN("execve", execl("/bin/true", "true", nullptr));
  EXPECT_FORBIDDEN("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  EXPECT_FORBIDDEN("ptrace", ptrace(PTRACE_TRACEME, 0, nullptr, nullptr));
  EXPECT_FORBIDDEN("kill", kill(1, 0));
  EXPECT_FORBIDDEN("ioctl", ioctl(0, FIONREAD, nullptr));
  EXPECT_FORBIDDEN("memfd_create", memfd_create("x", 0));
  EXPECT_FORBIDDEN("unlink", unlink("/nonexistent"));
  EXPECT_FORBIDDEN("accept4", accept4(0, nullptr, nullptr, 0));
  EXPECT_FORBIDDEN("pwrite64", (void)!pwrite(0, "", 1, 0));
  EXPECT_FORBIDDEN("mmap", mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const Fd memory = makeMemfd("x", 4096);
  EXPECT_FORBIDDEN("mmap",
                   mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, memory.get(), 0));
}

TEST(TcgSandbox, WhatBootingNeedsWorks) {
  const Fd ram = makeMemfd("ram", 1 << 21);
  const Outcome outcome = inSandbox(lockDown, [&] {
    memoryFacts(ram.get());
    GuestRam mapped(ram.get(), {{0, 1 << 21, 0}});
    sealRam(ram.get());
    const GpaSpan all{0, 1 << 21};
    mapped.write(8, std::as_bytes(std::span("written")), {&all, 1});
    ram.duplicate();
  });
  EXPECT_EQ(outcome.log, "");
  EXPECT_EQ(outcome.status, "exit code 0");
  char bytes[7];
  ASSERT_EQ(pread(ram.get(), bytes, 7, 8), 7);
  EXPECT_EQ(std::string(bytes, 7), "written");
}

}  // namespace
}  // namespace ktstr::vmm
