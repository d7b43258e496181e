#include "guest/agent/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr uint32_t disableBoundMs = 5000, hostBoundMs = 10'000;

// By the fourth field of /proc/PID/stat: every kernel has it.
std::vector<pid_t> childrenOf(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string stat = readFileIfThere(entry.path() / "stat").value_or("");
    int pid = 0, above = 0;
    const size_t name = stat.rfind(')');
    if (name == std::string::npos || sscanf(stat.c_str(), "%d", &pid) != 1) continue;
    if (sscanf(stat.c_str() + name, ") %*c %d", &above) == 1 && above == parent) children.push_back(pid);
  }
  return children;
}

}  // namespace

uint64_t inMilliseconds(uint64_t milliseconds) {
  return monotonicNs() + milliseconds * 1'000'000;
}

Supervisor::Supervisor(Channel& channel, Scheduler& scheduler)
    : channel_(channel), scheduler_(scheduler), stats_(channel) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  childSignals_ = Fd(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!childSignals_) throw Failure(FailureName::INTERNAL, withErrno("make a signalfd", errno));
}

void Supervisor::reap() {
  signalfd_siginfo info;
  while (read(childSignals_.get(), &info, sizeof info) > 0) continue;
  for (;;) {
    ChildExit child{};
    child.pid = wait4(-1, &child.status, WNOHANG, &child.usage);
    if (child.pid <= 0) return;
    if (child.pid == scheduler_.pid()) {
      scheduler_.ended(child.status);
    } else if (workers_ == nullptr || !workers_->ended(child)) {
      if (payloads_ != nullptr) payloads_->ended(child);
    }
  }
}

bool Supervisor::wait(uint64_t deadlineNs, const std::function<bool()>& done, bool unlessCut, int tickMs) {
  for (;;) {
    reap();
    scheduler_.drainLog();
    if (payloads_ != nullptr) payloads_->drain();
    scheduler_.check();
    stats_.look();
    if (done()) return true;
    if (unlessCut && cutShort()) return false;
    const uint64_t now = monotonicNs();
    if (now >= deadlineNs) return false;
    const uint64_t left = std::min<uint64_t>(deadlineNs - now, static_cast<uint64_t>(tickMs) * 1'000'000);
    std::vector<pollfd> sources = {{channel_.doorbell(), POLLIN, 0},
                                   {childSignals_.get(), POLLIN, 0},
                                   {scheduler_.logFd(), POLLIN, 0},
                                   {stats_.descriptor(), POLLIN, 0}};
    if (payloads_ != nullptr) {
      for (const int output : payloads_->outputs()) sources.push_back({output, POLLIN, 0});
    }
    const timespec time = {static_cast<time_t>(left / 1'000'000'000),
                           static_cast<long>(left % 1'000'000'000)};
    ppoll(sources.data(), sources.size(), &time, nullptr);
    if ((sources[0].revents & POLLIN) != 0) channel_.drainDoorbell();
  }
}

void Supervisor::awaitHost() {
  ++awaited_;
  wait(
      inMilliseconds(hostBoundMs), [this] { return channel_.letGo() >= awaited_; }, true, 5);
}

std::string Supervisor::startScheduler(rpc::SchedulerOrders::Reader orders) {
  scheduler_.start(orders);
  const auto settled = [&] { return !scheduler_.running() || scheduler_.attached(); };
  wait(inMilliseconds(orders.getAttachTimeoutMs()), settled, true, 10);
  if (!scheduler_.running()) throw scheduler_.diedAtStart();
  if (!scheduler_.attached() && !cutShort()) throw scheduler_.notAttached(orders.getAttachTimeoutMs());
  return scheduler_.opsName();
}

void Supervisor::stopScheduler() {
  const auto gone = [this] { return !scheduler_.running(); };
  scheduler_.expectEnd();
  scheduler_.signal(SIGINT);
  if (wait(inMilliseconds(2000), gone)) return;
  scheduler_.signal(SIGKILL);
  wait(inMilliseconds(2000), gone);
}

std::string Supervisor::detachScheduler() {
  const uint64_t asked = monotonicNs();
  std::string ops = scheduler_.opsName();
  stopScheduler();
  const auto disabled = [&] { return scheduler_.state() == "disabled"; };
  if (!wait(inMilliseconds(disableBoundMs), disabled, false, 10))
    throw scheduler_.notDetached(disableBoundMs);
  scheduler_.detached(asked);
  return ops;
}

void Supervisor::requireNoChildren() {
  const auto none = [] {
    return waitid(P_ALL, 0, nullptr, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
  };
  if (wait(inMilliseconds(1000), none, false, 10)) return;
  std::string left;
  for (const pid_t child : childrenOf(getpid())) {
    const std::string comm = readFileIfThere(text("/proc/", child, "/comm")).value_or("?");
    left += text(left.empty() ? "" : ", ", "pid ", child, " (", comm.substr(0, comm.find('\n')), ')');
    kill(child, SIGKILL);
  }
  throw Failure(FailureName::TEARDOWN_INCOMPLETE, "tasks are left: " + left);
}

}  // namespace ktstr::agent
