#include "kbuild/command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

sigset_t endingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

// Kills what is left of a session and reaps it: as a subreaper we inherit it.
void clearSession(pid_t leader) {
  kill(-leader, SIGKILL);
  while (waitpid(-leader, nullptr, 0) > 0 || errno == EINTR) {
  }
}

}  // namespace

std::string outputOf(const std::string& executable, const std::vector<std::string>& arguments) {
  const Fd output = makeMemfd("output", 0);
  const Fd nowhere = openFile("/dev/null", O_WRONLY);
  SpawnOptions options;
  options.executable = executable;
  options.arguments = arguments;
  options.standardOutput = output.get();
  options.standardError = nowhere.get();
  return spawn(options).wait() == 0 ? readAll(output.get(), size_t{1} << 20) : "";
}

Interrupts::Interrupts() {
  const sigset_t set = endingSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  fd_ = Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw errnoError("signalfd-failed", "wait for signals");
}

Interrupts::~Interrupts() {
  const sigset_t set = endingSignals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

void Interrupts::check() const {
  signalfd_siginfo info;
  if (read(fd_.get(), &info, sizeof info) == sizeof info) throw Interrupted{static_cast<int>(info.ssi_signo)};
}

CommandRunner::CommandRunner(std::string session, const std::string& logPath, const Interrupts& interrupts,
                             std::function<void()> onWait)
    : session_(std::move(session)),
      logPath_(logPath),
      log_(openFile(logPath, O_WRONLY | O_CREAT | O_APPEND, 0644)),
      interrupts_(interrupts),
      onWait_(std::move(onWait)) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    throw errnoError("subreaper-failed", "become the reaper of the build");
}

void CommandRunner::run(const Command& command) {
  std::string line = "$ " + command.executable;
  for (const auto& argument : command.arguments) line += " " + argument;
  writeAll(log_.get(), line + "\n");

  SpawnOptions options;
  options.executable = session_;
  options.arguments = command.arguments;
  options.arguments.insert(options.arguments.begin(), command.executable);
  options.environment = command.environment;
  options.standardOutput = options.standardError = log_.get();
  Child child = spawn(options);
  try {
    while (!child.poll()) {
      pollfd events[] = {{child.pidfd(), POLLIN, 0}, {interrupts_.fd(), POLLIN, 0}};
      poll(events, 2, 200);
      interrupts_.check();
      if (onWait_) onWait_();
    }
  } catch (...) {
    child.stop(500);
    clearSession(child.pid());
    throw;
  }
  clearSession(child.pid());
  if (const int status = child.wait(); status != 0) {
    throw Error(ExitCode::infrastructure, "build-failed",
                text(command.executable, ": ", describeWaitStatus(status), "; the log ends:\n",
                     lastLines(readFile(logPath_), 20)));
  }
}

std::string lastLines(const std::string& content, size_t lines) {
  std::vector<std::string> found;
  size_t end = content.size();
  if (end > 0 && content.back() == '\n') --end;
  while (found.size() < lines && end != content.npos && end > 0) {
    const size_t newline = content.rfind('\n', end - 1);
    const size_t start = newline == content.npos ? 0 : newline + 1;
    found.push_back("  | " + content.substr(start, std::min<size_t>(end - start, 400)) + "\n");
    end = newline;
  }
  std::string result;
  for (auto each = found.rbegin(); each != found.rend(); ++each) result += *each;
  return result;
}

}  // namespace ktstr::kbuild
