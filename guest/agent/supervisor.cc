#include "guest/agent/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ktstr::agent {

uint64_t inMilliseconds(uint64_t milliseconds) {
  return monotonicNs() + milliseconds * 1'000'000;
}

Supervisor::Supervisor(Channel& channel, Scheduler& scheduler) : channel_(channel), scheduler_(scheduler) {
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
    } else if (workers_ != nullptr) {
      workers_->ended(child);
    }
  }
}

bool Supervisor::wait(uint64_t deadlineNs, const std::function<bool()>& done, bool unlessCut, int tickMs) {
  for (;;) {
    reap();
    scheduler_.drainLog();
    scheduler_.check();
    if (done()) return true;
    if (unlessCut && cutShort()) return false;
    const uint64_t now = monotonicNs();
    if (now >= deadlineNs) return false;
    const uint64_t left = std::min<uint64_t>(deadlineNs - now, static_cast<uint64_t>(tickMs) * 1'000'000);
    pollfd sources[] = {
        {childSignals_.get(), POLLIN, 0}, {scheduler_.logFd(), POLLIN, 0}, {channel_.doorbell(), POLLIN, 0}};
    const timespec time = {static_cast<time_t>(left / 1'000'000'000),
                           static_cast<long>(left % 1'000'000'000)};
    ppoll(sources, 3, &time, nullptr);
    if ((sources[2].revents & POLLIN) != 0) channel_.drainDoorbell();
  }
}

void Supervisor::stopScheduler() {
  const auto gone = [this] { return !scheduler_.running(); };
  scheduler_.expectEnd();
  scheduler_.signal(SIGINT);
  if (wait(inMilliseconds(2000), gone)) return;
  scheduler_.signal(SIGKILL);
  wait(inMilliseconds(2000), gone);
}

}  // namespace ktstr::agent
