#include "guest/agent/scheduler.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

std::string trimmed(std::string value) {
  while (!value.empty() && (value.back() == '\n' || value.back() == ' ')) value.pop_back();
  return value;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& each : strings) result.push_back(each.data());
  result.push_back(nullptr);
  return result;
}

struct Program {
  std::string path;
  std::vector<std::string> arguments, environment;
};

Program programOf(rpc::SchedulerOrders::Reader orders) {
  Program program{orders.getPath().cStr(), {orders.getPath().cStr()}, {"PATH=/bin:/ktstr/bin", "HOME=/tmp"}};
  for (const auto& argument : orders.getArgs()) program.arguments.emplace_back(argument.cStr());
  for (const auto& variable : orders.getEnv()) program.environment.emplace_back(variable.cStr());
  return program;
}

// In the child. Returns errno of what failed.
int execute(const Program& program, char* const* arguments, char* const* environment, int output) {
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int number = 1; number < NSIG; number++) ::signal(number, SIG_DFL);
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);  // BPF maps; kernels before 5.11 count them here
  const int input = open("/dev/null", O_RDONLY);
  if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) return errno;
  execve(program.path.c_str(), arguments, environment);
  return errno;
}

std::string whyNotExecutable(const std::string& path, int number) {
  std::string message = withErrno("execute " + path, number);
  if (number == ENOENT && access(path.c_str(), F_OK) == 0) {
    message += "; the file is there, so the interpreter it names is not";
  }
  if (number == ENOEXEC) message += "; not a program for this architecture";
  return message;
}

}  // namespace

Scheduler::Scheduler(Channel& channel, std::string sysfs)
    : channel_(channel), sysfs_(std::move(sysfs)), text_([this](const std::string& piece) {
        channel_.post([&](rpc::GuestEvent::Builder event) { event.setSchedulerLog(piece); });
      }) {}

Scheduler::~Scheduler() {
  if (running()) signal(SIGKILL);
}

void Scheduler::start(rpc::SchedulerOrders::Reader orders) {
  path_ = orders.getPath().cStr();
  if (access(sysfs_.c_str(), F_OK) != 0) {
    throw Failure(FailureName::SCHED_EXT_UNSUPPORTED,
                  text("this kernel has no ", sysfs_, "; ", path_, " cannot run on it"));
  }
  Program program = programOf(orders);
  const std::vector<char*> arguments = pointers(program.arguments);
  const std::vector<char*> environment = pointers(program.environment);
  int output[2], trouble[2];
  if (pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(trouble, O_CLOEXEC) != 0) {
    throw Failure(FailureName::INTERNAL, withErrno("make the scheduler's pipes", errno));
  }
  log_ = Fd(output[0]);
  Fd outputEnd(output[1]), troubleEnd(trouble[0]), childTrouble(trouble[1]);
  fcntl(outputEnd.get(), F_SETFL, O_WRONLY);  // a scheduler expects its output to block
  const pid_t child = fork();
  if (child == 0) {
    const int number = execute(program, arguments.data(), environment.data(), outputEnd.get());
    const ssize_t told = write(childTrouble.get(), &number, sizeof number);
    _exit(told == sizeof number ? 127 : 126);
  }
  childTrouble.reset();
  if (child < 0) throw Failure(FailureName::SCHEDULER_MISSING, withErrno("fork for " + path_, errno));
  int number = 0;
  if (read(troubleEnd.get(), &number, sizeof number) == sizeof number) {
    throw Failure(FailureName::SCHEDULER_MISSING, whyNotExecutable(path_, number));
  }
  pid_ = child;
  startedNs_ = monotonicNs();
  channel_.post([&](rpc::GuestEvent::Builder event) {
    event.initSchedulerStarted().setPid(static_cast<uint32_t>(child));
  });
}

void Scheduler::drainLog() {
  char bytes[4096];
  ssize_t got = 0;
  for (int turn = 0; turn < 16 && log_ && (got = read(log_.get(), bytes, sizeof bytes)) != -1; turn++) {
    if (got == 0)
      log_.reset();  // all writers are gone
    else
      text_.feed({bytes, static_cast<size_t>(got)});
  }
}

void Scheduler::ended(int status) {
  status_ = status;
  drainLog();  // a pipe holds no more than one call reads
  log_.reset();
  text_.finish();
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initSchedulerExited();
    out.setExitCode(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    out.setSignal(WIFSIGNALED(status) ? static_cast<uint32_t>(WTERMSIG(status)) : 0);
    out.setExpected(expected_);
  });
  if (!opsName_.empty()) lose(text(path_, " (pid ", pid_, ") ended: ", describeWaitStatus(status)));
}

std::string Scheduler::state() const {
  return trimmed(readFileIfThere(sysfs_ + "/state").value_or(""));
}

bool Scheduler::attached() {
  if (!opsName_.empty()) return true;
  if (state() != "enabled") return false;
  const std::string ops = trimmed(readFileIfThere(sysfs_ + "/root/ops").value_or(""));
  if (ops.empty()) return false;
  opsName_ = ops;
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initSchedulerAttached();
    out.setOpsName(ops);
    out.setAfterMs(static_cast<uint32_t>((monotonicNs() - startedNs_) / 1'000'000));
  });
  return true;
}

void Scheduler::check() {
  if (opsName_.empty() || lost_ || expected_) return;
  const std::string now = state();
  if (now == "enabled") return;
  drainLog();
  lose(text("the kernel ejected ", opsName_, " (", path_, ", pid ", pid_, "): sched_ext state is \"", now,
            '"'));
}

void Scheduler::lose(const std::string& message) {
  if (lost_ || expected_) return;
  lost_ = true;
  channel_.failure(Failure(FailureName::SCHEDULER_EXITED, message + evidence()));
}

std::string Scheduler::evidence() const {
  const std::string words = text_.words();
  return words.empty() ? "; it printed nothing" : "; it printed:\n" + words;
}

void Scheduler::signal(int number) const {
  if (running()) kill(-pid_, number);
}

Failure Scheduler::diedAtStart() const {
  return Failure(
      FailureName::SCHEDULER_DIED_AT_START,
      text(path_, " (pid ", pid_, ") ended before it attached: ", describeWaitStatus(*status_), evidence()));
}

Failure Scheduler::notAttached(uint32_t timeoutMs) const {
  return Failure(FailureName::SCHEDULER_NOT_ATTACHED,
                 text(path_, " (pid ", pid_, ") did not attach within ", timeoutMs,
                      " ms: sched_ext state is \"", state(), '"', evidence()));
}

}  // namespace ktstr::agent
