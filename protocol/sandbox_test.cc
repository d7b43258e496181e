#include "protocol/sandbox.h"

#include <capnp/rpc-twoparty.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <sstream>
#include <thread>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/machine.capnp.h"
#include "protocol/process.h"
#include "protocol/socket.h"
#include "protocol/text.h"
#include "protocol/transport.h"

namespace ktstr {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

struct Outcome {
  std::string status;
  std::string stderrText;
};

enum class Mode { quiet, naming };

// Runs `body` in a forked child; the child's exit code is 0 if it returns.
Outcome inChild(Mode mode, const std::function<void()>& body) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 2);
    mode == Mode::quiet ? setenv("KTSTR_SANDBOX", "quiet", 1) : unsetenv("KTSTR_SANDBOX");
    try {
      body();
    } catch (const Error& error) {
      (void)!write(2, error.what(), strlen(error.what()));
      _exit(1);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string all;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    all.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  return {describeWaitStatus(status), all};
}

Sandbox basic() {
  return std::move(Sandbox("ktstr-test").allowBasics().allowHeap());
}

struct Forbidden {
  const char* name;  // of the syscall that must be reported
  std::function<void()> attempt;
};

std::vector<Forbidden> forbidden() {
  void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return {
      {"openat", [] { (void)open("/etc/passwd", O_RDONLY); }},
      {"socket", [] { socket(AF_INET, SOCK_STREAM, 0); }},
      {"execve", [] { execl("/bin/true", "true", nullptr); }},
      {"ioctl", [] { ioctl(0, FIONREAD, 0); }},
      {"ptrace", [] { syscall(SYS_ptrace, 0, 0, 0, 0); }},
      {"process_vm_readv", [] { syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0); }},
      {"clone", [] { syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"kill", [] { kill(1, 0); }},
      {"tgkill", [] { syscall(SYS_tgkill, 1, 1, SIGTERM); }},
      {"read",
       [] {
         char byte;
         (void)!read(0, &byte, 1);
       }},
      {"write", [] { (void)!write(1, "x", 1); }},
      {"mprotect", [=] { mprotect(page, 4096, PROT_READ | PROT_EXEC); }},
      {"mmap", [] { mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
      {"mmap", [] { mmap(nullptr, 4096, PROT_READ, MAP_SHARED, 0, 0); }},
      {"prctl", [] { prctl(PR_SET_DUMPABLE, 1); }},
      {"seccomp", [] { syscall(SYS_seccomp, 0, 0, 0); }},
  };
}

TEST(SandboxQuiet, EndsTheProcessAtEachForbiddenCall) {
  for (const auto& [name, attempt] : forbidden()) {
    const Outcome outcome = inChild(Mode::quiet, [&call = attempt] {
      basic().lockDown();
      call();
    });
    EXPECT_EQ(outcome.status, "killed by SIGSYS") << name;
    EXPECT_EQ(outcome.stderrText, "") << name;
  }
}

TEST(SandboxDefault, NamesEachForbiddenCall) {
  for (const auto& [name, attempt] : forbidden()) {
    const Outcome outcome = inChild(Mode::naming, [&call = attempt] {
      basic().lockDown();
      call();
    });
    EXPECT_EQ(outcome.status, "killed by SIGSYS") << name;
    EXPECT_THAT(outcome.stderrText, StartsWith(text("ktstr-test: seccomp: forbidden syscall ", name, "(0x")));
    EXPECT_THAT(outcome.stderrText, EndsWith(")\n"));
  }
}

TEST(SandboxDefault, WritesNumbersOfUnknownCallsAndAllArguments) {
  const Outcome outcome = inChild(Mode::naming, [] {
    basic().lockDown();
    syscall(1000, 1, 2, 3, 4, 5, ~0UL);
  });
  EXPECT_EQ(outcome.stderrText,
            "ktstr-test: seccomp: forbidden syscall 0x3e8(0x1, 0x2, 0x3, 0x4, 0x5, 0xffffffffffffffff)\n");
}

// Whatever it catches itself otherwise: the handler that is there stays.
TEST(SandboxDefault, CannotBeTakenOver) {
  const Outcome outcome = inChild(Mode::naming, [] {
    basic().lockDown();
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(SIGSYS, &action, nullptr);
  });
  EXPECT_EQ(outcome.status, "killed by SIGSYS");
  EXPECT_THAT(outcome.stderrText, StartsWith("ktstr-test: seccomp: forbidden syscall rt_sigaction(0x1f"));
  const Outcome blocked = inChild(Mode::naming, [] {
    basic().lockDown();
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    socket(AF_UNIX, SOCK_STREAM, 0);
  });
  EXPECT_EQ(blocked.status, "killed by SIGSYS") << "where it is blocked there is no word";
}

TEST(SandboxDefault, CannotSwitchTheSandboxOff) {
  for (const char* value : {"off", "0", "QUIET", "log", ""}) {
    const Outcome outcome = inChild(Mode::quiet, [&] {
      setenv("KTSTR_SANDBOX", value, 1);
      basic().lockDown();
      socket(AF_UNIX, SOCK_STREAM, 0);
    });
    EXPECT_EQ(outcome.status, "killed by SIGSYS") << value;
  }
}

TEST(SandboxBasics, LetAProcessWorkAndEnd) {
  const Outcome outcome = inChild(Mode::naming, [] {
    log::start("test");
    basic().lockDown();
    std::vector<std::string> strings;
    for (size_t i = 1; i < 200; ++i) strings.emplace_back(i * 10'000, 'x');
    strings.clear();
    timespec moment{0, 1000};
    nanosleep(&moment, nullptr);
    clock_gettime(CLOCK_REALTIME, &moment);
    log::warn("still alive");
    fprintf(stderr, "printed\n");
    exit(5);
  });
  EXPECT_EQ(outcome.status, "exit code 5") << outcome.stderrText;
  EXPECT_THAT(outcome.stderrText, HasSubstr("still alive"));
  EXPECT_THAT(outcome.stderrText, HasSubstr("printed"));
}

TEST(SandboxBasics, LetAProcessAbort) {
  const Outcome outcome = inChild(Mode::quiet, [] {
    signal(SIGABRT, SIG_DFL);
    basic().lockDown();
    abort();
  });
  EXPECT_EQ(outcome.status, "killed by SIGABRT");
}

TEST(SandboxArguments, ArePinned) {
  const auto readFrom = [](int allowed, int used) {
    return inChild(Mode::quiet, [=] {
      const int zero = open("/dev/zero", O_RDONLY);
      dup2(zero, 20);
      dup2(zero, 21);
      basic().allow("read", {{0, static_cast<uint64_t>(allowed)}, {2, 8}}).lockDown();
      char bytes[8];
      if (read(used, bytes, 8) != 8) _exit(1);
    });
  };
  EXPECT_EQ(readFrom(20, 20).status, "exit code 0");
  EXPECT_EQ(readFrom(20, 21).status, "killed by SIGSYS");
}

TEST(SandboxArguments, AreAlternativesInSeveralRules) {
  for (const auto& [command, status] :
       {std::pair{F_GETFL, "exit code 0"}, {F_GETFD, "exit code 0"}, {F_DUPFD, "killed by SIGSYS"}}) {
    const Outcome outcome = inChild(Mode::quiet, [which = command] {
      basic().allow("fcntl", {{1, F_GETFL}}).allow("fcntl", {{1, F_GETFD}}).lockDown();
      fcntl(0, which, 0);
    });
    EXPECT_EQ(outcome.status, status) << command;
  }
}

// The kernel takes ioctl requests as 32 bits; what libc leaves in the upper half must neither forbid nor
// allow.
TEST(SandboxArguments, AreComparedOn32BitsUnlessWide) {
  const auto status = [](bool wide, uint64_t value) {
    return inChild(Mode::quiet,
                   [=] {
                     basic().allow("ioctl", {{.index = 1, .value = FIONREAD, .wide = wide}}).lockDown();
                     syscall(SYS_ioctl, -1, value, 0);
                   })
        .status;
  };
  constexpr uint64_t dirty = 0xffffffff00000000 | FIONREAD;
  EXPECT_EQ(status(false, FIONREAD), "exit code 0");
  EXPECT_EQ(status(false, dirty), "exit code 0");
  EXPECT_EQ(status(true, FIONREAD), "exit code 0");
  EXPECT_EQ(status(true, dirty), "killed by SIGSYS");
  EXPECT_EQ(status(false, FIONREAD + 1), "killed by SIGSYS");
}

TEST(SandboxArguments, AreMasked) {
  const auto status = [](int flags) {
    return inChild(Mode::quiet,
                   [=] {
                     basic().allow("openat", {{2, O_RDONLY, O_ACCMODE}}).lockDown();
                     (void)open("/dev/null", flags);
                   })
        .status;
  };
  EXPECT_EQ(status(O_RDONLY | O_CLOEXEC), "exit code 0");
  EXPECT_EQ(status(O_WRONLY), "killed by SIGSYS");
}

TEST(SandboxLockDown, CoversThreadsThatExistAlready) {
  const Outcome outcome = inChild(Mode::quiet, [] {
    std::atomic<bool> locked = false;
    std::thread other([&] {
      locked.wait(false);
      (void)open("/etc/passwd", O_RDONLY);
      _exit(0);
    });
    basic().lockDown();
    locked = true;
    locked.notify_all();
    other.join();
  });
  EXPECT_EQ(outcome.status, "killed by SIGSYS");
}

TEST(SandboxLockDown, LeavesALimitThatIsLowerAlready) {
  const Outcome outcome = inChild(Mode::naming, [] {
    const rlimit lower{40, 40};
    if (setrlimit(RLIMIT_NOFILE, &lower) != 0 || (geteuid() == 0 && setresuid(61001, 61001, 61001) != 0))
      _exit(2);
    basic().allow("prlimit64").limit(RLIMIT_NOFILE, 50).lockDown();
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    const std::string line = text("limit ", limit.rlim_cur, ' ', limit.rlim_max);
    (void)!write(2, line.data(), line.size());
  });
  EXPECT_EQ(outcome.stderrText, "limit 40 40");
}

TEST(SandboxLockDown, LimitsAndGivesUpPrivileges) {
  const Outcome outcome = inChild(Mode::naming, [] {
    basic().allow("prlimit64").allow("prctl", {{0, PR_GET_NO_NEW_PRIVS}}).limit(RLIMIT_NOFILE, 50).lockDown();
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    const std::string line =
        text("limit ", limit.rlim_cur, ' ', limit.rlim_max, " nnp ", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    (void)!write(2, line.data(), line.size());
  });
  EXPECT_EQ(outcome.stderrText, "limit 50 50 nnp 1");
}

// The values of /proc/self/status that begin with `prefix`; `status` is that file, opened before.
std::string statusOf(int status, std::string_view prefix) {
  char buffer[8192];
  const ssize_t size = pread(status, buffer, sizeof buffer, 0);
  std::istringstream lines(std::string(buffer, size > 0 ? static_cast<size_t>(size) : 0));
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(prefix)) found += line.substr(line.find('\t') + 1) + ' ';
  }
  return found;
}

TEST(SandboxPrivileges, NoCapabilityIsLeft) {
  if (geteuid() != 0) GTEST_SKIP() << "has no capabilities to drop: not root";
  const Outcome outcome = inChild(Mode::naming, [] {
    const int status = open("/proc/self/status", O_RDONLY);
    if (statusOf(status, "CapBnd:").find_first_not_of("0 ") == std::string::npos) _exit(2);
    basic().allow("pread64").dropPrivileges().lockDown();
    std::string line = statusOf(status, "Cap") + statusOf(status, "NoNewPrivs:");
    (void)!write(2, line.data(), line.size());
  });
  const std::string none = "0000000000000000 ";  // inheritable, permitted, effective, bounding, ambient
  EXPECT_EQ(outcome.stderrText, none + none + none + none + none + "1 ") << outcome.status;
}

TEST(SandboxPrivileges, NoPathIsLeftEvenWhereTheFilterAllowsCalls) {
  setenv("KTSTR_LOG", "info", 1);
  const Outcome outcome = inChild(Mode::naming, [] {
    log::start("test");
    const int before = open("/etc/passwd", O_RDONLY);
    basic().allow("openat").allow("mkdir").allow("read").dropPrivileges().lockDown();
    char byte;
    const std::string line = text("open ", open("/etc/passwd", O_RDONLY) < 0 ? errno : 0, ", create ",
                                  open("/tmp/ktstr-landlock", O_CREAT | O_WRONLY, 0600) < 0 ? errno : 0,
                                  ", mkdir ", mkdir("/tmp/ktstr-landlock", 0700) != 0 ? errno : 0,
                                  ", read what was open ", read(before, &byte, 1));
    (void)!write(2, line.data(), line.size());
  });
  unsetenv("KTSTR_LOG");
  unlink("/tmp/ktstr-landlock");
  rmdir("/tmp/ktstr-landlock");
  if (outcome.stderrText.find("no Landlock") != std::string::npos) GTEST_SKIP() << outcome.stderrText;
  EXPECT_EQ(outcome.stderrText,
            text("open ", EACCES, ", create ", EACCES, ", mkdir ", EACCES, ", read what was open 1"));
}

TEST(SandboxRules, AreCheckedAndDescribed) {
  Sandbox sandbox("ktstr-test");
  sandbox.allow("read", {{0, 3}}).allow("exit_group").allow("read", {{0, 4}}).allow("mmap", {{2, 0, 4}});
  EXPECT_EQ(sandbox.describe(), (std::vector<std::string>{"exit_group", "mmap arg2&0x4==0", "read arg0==3",
                                                          "read arg0==4", "write arg0==2"}));
  EXPECT_EQ(sandbox.syscallCount(), 4u);
  EXPECT_NO_THROW(sandbox.allow("mseal"));
  try {
    sandbox.allow("raed");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "sandbox-invalid: no syscall has the name raed");
  }
}

// ---- an event loop inside
// ------------------------------------------------------------------------------------

class TestMachine final : public rpc::Machine::Server {
 public:
  kj::Promise<void> freeze(FreezeContext context) override {
    context.getResults().setMicros(42);
    return kj::READY_NOW;
  }
  kj::Promise<void> console(ConsoleContext context) override {
    context.getResults().setStream(console_);
    return kj::READY_NOW;
  }
  rpc::Fd::Client console_ = giveFd(makeMemfd("console", 1)).castAs<rpc::Fd>();
};

// Calls with and without descriptors, a timer, and the other end's death, all under the filter.
TEST(SandboxEventLoop, RunsCapnProtoOverConnectedSockets) {
  auto sockets = makeSocketPair();
  const pid_t server = fork();
  if (server == 0) {
    sockets.second.reset();
    auto io = kj::setupAsyncIo();
    Connection connection(*io.lowLevelProvider, std::move(sockets.first), kj::heap<TestMachine>());
    connection.onDisconnect().wait(io.waitScope);
    _exit(0);
  }
  sockets.first.reset();
  const Outcome outcome = inChild(Mode::naming, [&] {
    auto io = kj::setupAsyncIo();
    kj::UnixEventPort::captureSignal(SIGTERM);
    const Fd socket = sockets.second.duplicate();
    Connection connection(*io.lowLevelProvider, sockets.second.duplicate(), nullptr);
    basic().allowEventLoop().lockDown();
    auto terminated = io.unixEventPort.onSignal(SIGTERM);
    auto machine = connection.bootstrap().castAs<rpc::Machine>();
    if (machine.freezeRequest().send().wait(io.waitScope).getMicros() != 42) _exit(2);
    auto reply = machine.consoleRequest().send().wait(io.waitScope);
    if (fileSize(takeFd(reply.getStream()).wait(io.waitScope).get()) != 1) _exit(3);
    io.provider->getTimer().afterDelay(5 * kj::MILLISECONDS).wait(io.waitScope);
    syscall(SYS_tgkill, getpid(), gettid(), SIGTERM);
    terminated.wait(io.waitScope);
    shutdown(socket.get(), SHUT_RDWR);
    connection.onDisconnect().wait(io.waitScope);
    exit(7);
  });
  EXPECT_EQ(outcome.status, "exit code 7") << outcome.stderrText;
  EXPECT_EQ(outcome.stderrText, "");
  sockets.second.reset();
  int status = 0;
  waitpid(server, &status, 0);
  EXPECT_EQ(describeWaitStatus(status), "exit code 0");
}

TEST(SandboxEventLoop, AcceptsOnItsListenerAlone) {
  char name[] = "/tmp/ktstr-sandbox-XXXXXX";
  const std::string directory = mkdtemp(name);
  AcceptOptions options;
  const std::string path = directory + "/test.sock";
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Fd listening(ends[0]), ready(ends[1]);
  std::thread client([&] {
    char byte;
    (void)!read(listening.get(), &byte, 1);
    auto io = kj::setupAsyncIo();
    Connection connection(*io.lowLevelProvider, connectUnix(path), nullptr);
    auto machine = connection.bootstrap().castAs<rpc::Machine>();
    EXPECT_EQ(machine.freezeRequest().send().wait(io.waitScope).getMicros(), 42u);
  });
  const Outcome outcome = inChild(Mode::naming, [&] {
    auto io = kj::setupAsyncIo();
    Fd listener = listenUnix(path, 0600);
    const int number = listener.get();
    auto paf = kj::newPromiseAndFulfiller<void>();
    rpc::Machine::Client machine = kj::heap<TestMachine>();
    options.bootstrap = [&](uid_t) { return machine; };
    options.gone = [&] { paf.fulfiller->fulfill(); };
    auto serving = serve(io, std::move(listener), options);
    writeAll(ready.get(), "r");
    basic().allowEventLoop().allowAccept(number).lockDown();
    serving.exclusiveJoin(kj::mv(paf.promise)).wait(io.waitScope);
    accept4(number + 1, nullptr, nullptr, 0);
  });
  client.join();
  EXPECT_EQ(outcome.status, "killed by SIGSYS");
  EXPECT_THAT(outcome.stderrText, HasSubstr("forbidden syscall accept4"));
  unlink(path.c_str());
  rmdir(directory.c_str());
}

}  // namespace
}  // namespace ktstr
