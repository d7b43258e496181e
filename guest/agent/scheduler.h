// A scheduler: its process, its log, and whether the kernel runs it. One at a time; when one has ended the
// next can be started.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "guest/agent/channel.h"
#include "guest/agent/scheduler_log.h"
#include "protocol/fd.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

class Scheduler {
 public:
  // `sysfs` is where the kernel shows sched_ext.
  explicit Scheduler(Channel& channel, std::string sysfs = "/sys/kernel/sched_ext");
  ~Scheduler();  // kills what is left of it

  // Starts it in a process group of its own, its output in a pipe, and posts schedulerStarted. Throws Failure
  // schedExtUnsupported or schedulerMissing.
  void start(rpc::SchedulerOrders::Reader orders);

  pid_t pid() const { return pid_; }
  int logFd() const { return log_.get(); }
  bool running() const { return pid_ > 0 && !status_; }

  // Reads what it has printed, at most 64 KiB: one that never stops printing must not keep the agent busy.
  void drainLog();
  // It has ended with this wait status: posts the rest of the log and schedulerExited, and while it was
  // attached and not asked to stop failure schedulerExited.
  void ended(int status);

  // What the kernel says now: "enabled", "disabled", ...; empty if there is no such file.
  std::string state() const;
  // True once the state is enabled and the kernel names the ops; posts schedulerAttached the first time.
  bool attached();
  const std::string& opsName() const { return opsName_; }  // of the attached one; empty: none is
  // Looks whether an attached scheduler still is; posts failure schedulerExited once if the kernel ejected
  // it.
  void check();
  // It was attached and no longer is, or has ended, without being asked to.
  bool lost() const { return lost_; }

  // sched_ext is disabled after it was asked to end at `askedNs`: posts schedulerDetached.
  void detached(uint64_t askedNs);

  // From here on its end is expected.
  void expectEnd() { expected_ = true; }
  void signal(int number) const;

  // Failures for a start that did not succeed, with the state seen and the last lines of the log.
  Failure diedAtStart() const;
  Failure notAttached(uint32_t timeoutMs) const;
  Failure notDetached(uint32_t timeoutMs) const;

 private:
  SchedulerLog makeLog();
  void lose(const std::string& message);
  std::string evidence() const;

  Channel& channel_;
  std::string sysfs_;
  std::string path_, name_;
  SchedulerLog text_;
  Fd log_;
  pid_t pid_ = -1;
  std::optional<int> status_;
  uint64_t startedNs_ = 0;
  std::string opsName_;
  bool expected_ = false, lost_ = false;
};

}  // namespace ktstr::agent
