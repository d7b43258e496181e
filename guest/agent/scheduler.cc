#include "guest/agent/scheduler.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent/program.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

std::string trimmed(std::string value) {
  while (!value.empty() && (value.back() == '\n' || value.back() == ' ')) value.pop_back();
  return value;
}

Program programOf(rpc::SchedulerOrders::Reader orders) {
  Program program{.path = orders.getPath().cStr(), .arguments = {}, .environment = {}, .cgroup = {}};
  for (const auto& argument : orders.getArgs()) program.arguments.emplace_back(argument.cStr());
  for (const auto& variable : orders.getEnv()) program.environment.emplace_back(variable.cStr());
  return program;
}

}  // namespace

Scheduler::Scheduler(Channel& channel, std::string sysfs)
    : channel_(channel), sysfs_(std::move(sysfs)), text_(makeLog()) {}

SchedulerLog Scheduler::makeLog() {
  return SchedulerLog([this](const std::string& piece) {
    channel_.post([&](rpc::GuestEvent::Builder event) { event.setSchedulerLog(piece); });
  });
}

Scheduler::~Scheduler() {
  if (running()) signal(SIGKILL);
}

void Scheduler::start(rpc::SchedulerOrders::Reader orders) {
  path_ = orders.getPath().cStr();
  if (access(sysfs_.c_str(), F_OK) != 0) {
    throw Failure(FailureName::SCHED_EXT_UNSUPPORTED,
                  text("this kernel has no ", sysfs_, "; ", path_, " cannot run on it"));
  }
  StartedProgram started = startProgram(programOf(orders), FailureName::SCHEDULER_MISSING);
  log_ = std::move(started.output);
  pid_ = started.pid;
  name_ = orders.getName().cStr();
  text_ = makeLog();
  status_.reset();
  opsName_.clear();
  expected_ = false;
  startedNs_ = monotonicNs();
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initSchedulerStarted();
    out.setPid(static_cast<uint32_t>(pid_));
    out.setName(name_);
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
  lose(text(opsName_, " (", path_, ", pid ", pid_, ") is no longer attached: sched_ext state is \"", now,
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

void Scheduler::detached(uint64_t askedNs) {
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto out = event.initSchedulerDetached();
    out.setOpsName(opsName_);
    out.setAfterMs(static_cast<uint32_t>((monotonicNs() - askedNs) / 1'000'000));
  });
  opsName_.clear();
}

void Scheduler::signal(int number) const {
  if (running()) kill(-pid_, number);
}

Failure Scheduler::diedAtStart() const {
  return Failure(
      FailureName::SCHEDULER_DIED_AT_START,
      text(path_, " (pid ", pid_, ") ended before it attached: ", describeWaitStatus(*status_), evidence()));
}

Failure Scheduler::notDetached(uint32_t timeoutMs) const {
  return Failure(FailureName::SCHEDULER_NOT_DETACHED,
                 text(path_, " (pid ", pid_, ") was asked to end, but within ", timeoutMs,
                      " ms sched_ext did not become disabled: its state is \"", state(), '"', evidence()));
}

Failure Scheduler::notAttached(uint32_t timeoutMs) const {
  return Failure(FailureName::SCHEDULER_NOT_ATTACHED,
                 text(path_, " (pid ", pid_, ") did not attach within ", timeoutMs,
                      " ms: sched_ext state is \"", state(), '"', evidence()));
}

}  // namespace ktstr::agent
