#include "protocol/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// What the child reports through its pipe if it cannot become the program.
struct Failure {
  int stage;  // index into stageNames
  int errnum;
};
enum Stage { inheriting, executing };
constexpr const char* stageNames[] = {"hand descriptors to", "execute"};

struct Remap {
  int source;
  int target;
};

// Everything the child needs, laid out before the fork: between fork and exec only system calls are made.
struct Plan {
  std::vector<char*> argv;
  std::vector<char*> envp;
  std::vector<Remap> remaps;  // sorted by target
  int scratch;                // first number above all sources and targets
  int failurePipe;
  pid_t parent;
  bool dieWithParent;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (const auto& s : strings) result.push_back(const_cast<char*>(s.c_str()));
  result.push_back(nullptr);
  return result;
}

[[noreturn]] void failChild(int pipe, Stage stage) {
  const Failure failure{stage, errno};
  (void)!write(pipe, &failure, sizeof failure);
  _exit(127);
}

// Sources may be each other's targets, so all of them first move above every number in question.
void inheritDescriptors(Plan& plan) {
  const int pipe = fcntl(plan.failurePipe, F_DUPFD_CLOEXEC, plan.scratch);
  if (pipe < 0) failChild(plan.failurePipe, inheriting);
  plan.failurePipe = pipe;
  for (auto& remap : plan.remaps) {
    remap.source = fcntl(remap.source, F_DUPFD_CLOEXEC, plan.scratch);
    if (remap.source < 0) failChild(pipe, inheriting);
  }
  unsigned next = 3;
  for (const auto& remap : plan.remaps) {
    if (dup2(remap.source, remap.target) < 0) failChild(pipe, inheriting);
    const auto target = static_cast<unsigned>(remap.target);
    if (target > next) close_range(next, target - 1, 0);
    next = std::max(next, target + 1);
  }
  if (close_range(next, ~0U, CLOSE_RANGE_CLOEXEC) != 0) failChild(pipe, inheriting);
}

[[noreturn]] void becomeProgram(Plan& plan, const char* executable) {
  if (plan.dieWithParent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != plan.parent) _exit(127);  // it died before the line above
  }
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  inheritDescriptors(plan);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(executable, plan.argv.data(), plan.envp.data());
  failChild(plan.failurePipe, executing);
}

std::vector<Remap> planRemaps(const SpawnOptions& options, int nullDevice) {
  std::vector<Remap> remaps;
  remaps.push_back({options.standardInput >= 0 ? options.standardInput : nullDevice, 0});
  if (options.standardOutput >= 0) remaps.push_back({options.standardOutput, 1});
  if (options.standardError >= 0) remaps.push_back({options.standardError, 2});
  for (const auto& [source, target] : options.descriptors) {
    const bool taken =
        std::any_of(remaps.begin(), remaps.end(), [number = target](auto& r) { return r.target == number; });
    if (target < 3 || taken) {
      throw Error(
          ExitCode::infrastructure, "spawn-failed",
          text(options.executable, ": descriptor number ", target, taken ? " given twice" : " is below 3"));
    }
    remaps.push_back({source, target});
  }
  std::sort(remaps.begin(), remaps.end(), [](auto& a, auto& b) { return a.target < b.target; });
  return remaps;
}

bool isExecutable(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

Child::Child(Child&& other) noexcept {
  *this = std::move(other);
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(status_, other.status_);
  return *this;
}

Child::~Child() {
  if (pid_ <= 0 || status_) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::signal(int number) const {
  if (pid_ > 0 && !status_) kill(pid_, number);
}

std::optional<int> Child::reap(int flags) {
  if (status_) return status_;
  int status = 0;
  pid_t got;
  do {
    got = waitpid(pid_, &status, flags);
  } while (got < 0 && errno == EINTR);
  if (got < 0) throw errnoError("wait-failed", text("wait for process ", pid_));
  if (got == pid_) status_ = status;
  return status_;
}

std::optional<int> Child::poll() {
  if (pid_ <= 0) return std::nullopt;
  return reap(WNOHANG);
}

int Child::wait() {
  return reap(0).value();
}

int Child::stop(int milliseconds) {
  signal(SIGTERM);
  const uint64_t deadline = monotonicNs() + static_cast<uint64_t>(milliseconds) * 1'000'000;
  while (!poll()) {
    const uint64_t now = monotonicNs();
    if (now >= deadline) {
      signal(SIGKILL);
      break;
    }
    pollfd ended{pidfd_.get(), POLLIN, 0};
    ::poll(&ended, 1, static_cast<int>((deadline - now + 999'999) / 1'000'000));
  }
  return wait();
}

Child spawn(const SpawnOptions& options) {
  const Fd nullDevice = openFile("/dev/null", O_RDONLY);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("spawn-failed", "make a pipe for " + options.executable);
  const Fd failureRead(ends[0]);
  Fd failureWrite(ends[1]);

  std::vector<std::string> arguments = options.arguments;
  arguments.insert(arguments.begin(), options.executable);
  Plan plan{pointers(arguments),
            pointers(options.environment),
            planRemaps(options, nullDevice.get()),
            3,
            failureWrite.get(),
            getpid(),
            options.dieWithParent};
  for (char** entry = environ; options.environment.empty() && *entry != nullptr; ++entry) {
    plan.envp.insert(plan.envp.end() - 1, *entry);
  }
  for (const auto& remap : plan.remaps) {
    plan.scratch = std::max({plan.scratch, remap.source + 1, remap.target + 1});
  }

  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of ours may run in the child
  const pid_t pid = fork();
  const int forkError = errno;
  if (pid == 0) becomeProgram(plan, options.executable.c_str());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw errnoError("spawn-failed", "fork for " + options.executable, {}, forkError);

  Child child;
  child.pid_ = pid;
  child.pidfd_ = Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!child.pidfd_) throw errnoError("spawn-failed", text("pidfd of ", options.executable));
  failureWrite.reset();
  Failure failure{};
  ssize_t got;
  do {
    got = read(failureRead.get(), &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  if (got == sizeof failure) {
    throw errnoError("spawn-failed", text(stageNames[failure.stage], ' ', options.executable), {},
                     failure.errnum);
  }
  return child;
}

std::string describeWaitStatus(int status) {
  if (WIFEXITED(status)) return text("exit code ", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) {
    const char* name = sigabbrev_np(WTERMSIG(status));
    if (name != nullptr) return text("killed by SIG", name);
    return text("killed by signal ", WTERMSIG(status));
  }
  return text("wait status ", hex(static_cast<uint64_t>(static_cast<unsigned>(status))));
}

std::string toolPath(const std::string& name) {
  std::string directory;
  if (const char* set = getenv("KTSTR_BIN_DIR"); set != nullptr && *set != 0) {
    directory = set;
  } else {
    char self[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
    if (length < 0) throw errnoError("tool-missing", "read /proc/self/exe");
    directory.assign(self, static_cast<size_t>(length));
    directory.resize(directory.rfind('/'));
  }
  std::string path = directory + "/" + name;
  if (!isExecutable(path)) {
    throw Error(ExitCode::infrastructure, "tool-missing", path + " is not there or not executable",
                "build or install all of ktstr, or set KTSTR_BIN_DIR to the directory of its programs");
  }
  return path;
}

std::optional<std::string> findProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return isExecutable(name) ? std::optional(name) : std::nullopt;
  }
  const char* set = getenv("PATH");
  std::string_view path = set != nullptr ? set : "/usr/local/bin:/usr/bin:/bin";
  for (;;) {
    const size_t end = path.find(':');
    const std::string_view directory = path.substr(0, end);
    const std::string candidate = text(directory.empty() ? "." : directory, '/', name);
    if (isExecutable(candidate)) return candidate;
    if (end == std::string_view::npos) return std::nullopt;
    path.remove_prefix(end + 1);
  }
}

}  // namespace ktstr
