#include "guest/agent/worker_process.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "guest/work/crew.h"
#include "guest/work/handover.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr uint64_t threadsBoundMs = 10000, programBoundMs = 30000;

bool isGone(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

// In the worker's own thread. Without its settings there is nothing to work for.
void prepare(const Worker& worker) {
  try {
    setUpOneself(worker.settings);
  } catch (const Failure& failure) {
    worker.setup->leave(worker.index, failure.message);
    _exit(work::setupFailedCode);
  }
}

// In the child: its settings, which outlive the execution of the program but for the name.
[[noreturn]] void becomeProgram(const std::vector<Worker>& crew, int start) {
  const Worker& first = crew.front();
  prepare(first);
  const work::Handover handover = {first.function,
                                   first.settings.comm,
                                   first.group->workers(),
                                   first.index,
                                   static_cast<uint32_t>(crew.size()),
                                   first.shared,
                                   start,
                                   first.group->pages(),
                                   first.setup->fd()};
  const int number = work::executeWorkers(handover, first.program);
  first.setup->leave(first.index, withErrno("execute " + first.program, number));
  _exit(work::setupFailedCode);
}

// fork(2) into a cgroup: a task that is moved there later waits for an RCU grace period
// (cgroup_threadgroup_rwsem), some 20 ms, and thousands wait one after the other. The C library keeps its
// thread's id where the kernel clears it at the end; a child that the library did not fork gets its own
// there. -1 with ENOSYS where that is not to be had.
pid_t forkInto(int cgroup) {
  uint64_t idAddress = 0;
  if (prctl(PR_GET_TID_ADDRESS, &idAddress) != 0) {
    errno = ENOSYS;
    return -1;
  }
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
  args.child_tid = idAddress;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(cgroup);
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

}  // namespace

Failure failureOf(const Worker& worker, FailureName name, const std::string& message) {
  Failure failure(name, message);
  failure.step = worker.step;
  failure.cgroup = worker.cgroup;
  failure.worker = text(worker.work, '[', worker.index, ']');
  return failure;
}

std::string whereIs(pid_t tid) {
  const std::string stat = readFileIfThere(text("/proc/", tid, "/stat")).value_or("");
  const size_t name = stat.rfind(')');
  const std::string state =
      name != std::string::npos && name + 2 < stat.size() ? stat.substr(name + 2, 1) : "?";
  return text("state ", state, ", wchan ", readFileIfThere(text("/proc/", tid, "/wchan")).value_or("?"));
}

void awaitThreads(const std::vector<Worker>& crew) {
  const uint64_t bound = crew.front().program.empty() ? threadsBoundMs : programBoundMs;
  const uint64_t deadline = monotonicNs() + bound * 1'000'000;
  for (const Worker& worker : crew) {
    while (worker.page().tid.load(std::memory_order_acquire) == 0) {
      const bool gone = isGone(worker.pid);
      for (const Worker& any : crew) {
        const auto why = any.setup->read(any.index);
        if (why) throw failureOf(any, FailureName::WORKER_SETUP_FAILED, any.name() + ": " + *why);
      }
      if (gone || monotonicNs() > deadline) {
        throw failureOf(worker, FailureName::SPAWN_FAILED,
                        text("worker ", worker.index, " of process ", worker.pid,
                             gone ? " ended before it began" : text(" did not begin within ", bound, " ms"),
                             worker.program.empty() ? ""
                                                    : " (" + worker.program +
                                                          ", which must be a GoogleTest "
                                                          "program with custom functions)",
                             ": ", whereIs(worker.pid)));
      }
      usleep(1000);
    }
  }
}

CrewProcess forkCrew(const std::vector<Worker>& crew, const std::string& processName, int start, int cgroup) {
  std::vector<work::Hand> hands;
  for (const Worker& worker : crew)
    hands.push_back({worker.group.get(), worker.index, [&worker] { prepare(worker); }});
  pid_t child = cgroup < 0 ? -1 : forkInto(cgroup);
  const bool inCgroup = child >= 0;
  if (cgroup < 0 || (child < 0 && errno == ENOSYS)) child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!processName.empty()) prctl(PR_SET_NAME, processName.c_str());
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (!crew.front().program.empty()) becomeProgram(crew, start);
    work::runCrew(hands, crew.front().shared, start);
    _exit(0);
  }
  if (child < 0) {
    const std::string limits = errno == EAGAIN ? " (is pids.max of its cgroup too small?)" : "";
    throw failureOf(crew.front(), FailureName::SPAWN_FAILED, withErrno("fork a worker", errno) + limits);
  }
  return {child, inCgroup};
}

}  // namespace ktstr::agent
