#include "cache/confine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "cache/kernel.h"
#include "cache/test_images.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::cache {
namespace {

using testing::HasSubstr;

struct Result {
  int status;
  std::string errors;  // what came on stderr
};

// Runs `work` in a child that has locked itself down.
template <typename Work>
Result confined(Work work) {
  const Fd errors = makeMemfd("stderr", 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(errors.get(), 2);
    storeSandbox().lockDown();
    work();
    _exit(0);
  }
  Result result{-1, ""};
  waitpid(child, &result.status, 0);
  result.errors = readAll(errors.get());
  return result;
}

struct Forbidden {
  const char* syscall;
  void (*attempt)();
};

class ForbiddenTest : public testing::TestWithParam<Forbidden> {};

TEST_P(ForbiddenTest, KillsAndIsNamed) {
  const Result result = confined(GetParam().attempt);
  EXPECT_TRUE(WIFSIGNALED(result.status)) << "it went on";
  EXPECT_EQ(WTERMSIG(result.status), SIGSYS);
  EXPECT_THAT(result.errors,
              HasSubstr(std::string("ktstr-cache: seccomp: forbidden syscall ") + GetParam().syscall));
}

INSTANTIATE_TEST_SUITE_P(
    StoreSandbox, ForbiddenTest,
    testing::Values(Forbidden{"socket", [] { socket(AF_INET, SOCK_STREAM, 0); }},
                    Forbidden{"connect", [] { connect(0, nullptr, 0); }},
                    Forbidden{"execve", [] { execl("/bin/true", "true", nullptr); }},
                    Forbidden{"ptrace", [] { ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
                    Forbidden{"clone", [] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
                    Forbidden{"kill", [] { kill(1, 0); }},
                    Forbidden{"mmap",
                              [] { mmap(nullptr, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
                    Forbidden{"chmod", [] { syscall(SYS_chmod, "/tmp/nothing", 0777); }}),
    [](const auto& item) { return item.param.syscall; });

TEST(StoreSandboxTest, TheStoreWorksInIt) {
  const test::TemporaryDirectory directory;
  test::writeFile(directory / "vmlinuz", test::makeBzImage());
  const Result result = confined([&] {
    const Store store = Store::open(directory / "store");
    const KernelSpec spec = parseKernelSpec(directory / "vmlinuz");
    const Entry entry = addKernelFile(store, spec);
    store.verify(entry);
    unlink(entry.path("vmlinux").c_str());
    try {
      findKernel(store, spec.path);
    } catch (const Error&) {
      addKernelFile(store, spec);
    }
    removeKernel(store, spec.path);
  });
  EXPECT_EQ(result.status, 0) << result.errors;
}

}  // namespace
}  // namespace ktstr::cache
