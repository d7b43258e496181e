// The agent's one place of waiting: children that end, the scheduler's log, state and statistics,
// the host's wish to stop, time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "guest/agent/channel.h"
#include "guest/agent/payloads.h"
#include "guest/agent/scheduler.h"
#include "guest/agent/scheduler_stats.h"
#include "guest/agent/workers.h"
#include "protocol/fd.h"

namespace ktstr::agent {

class Supervisor {
 public:
  // Blocks SIGCHLD and takes over the reaping of every child of the process, orphans of PID 1 included.
  Supervisor(Channel& channel, Scheduler& scheduler);

  // Whose ends to note, and whose output to read; nullptr: nobody's.
  void watch(Workers* workers, Payloads* payloads) {
    workers_ = workers;
    payloads_ = payloads;
  }

  // Returns when `done` says so (asked after every event and every `tickMs`), when the deadline
  // (CLOCK_MONOTONIC) has come, or, with `unlessCut`, when the scenario has to be cut short. Meanwhile
  // everything is looked after: a crash is named at once, an ejected scheduler within 100 ms. True: `done`.
  bool wait(uint64_t deadlineNs, const std::function<bool()>& done, bool unlessCut = false, int tickMs = 100);

  // What was posted last is something that the host does first: goes on when it has let us, or after 10 s, or
  // when the scenario has to be cut short. The host lets us go once for each time that we wait, in order.
  void awaitHost();

  // The scheduler is lost or the host has asked to stop.
  bool cutShort() const { return scheduler_.lost() || channel_.stopRequested(); }

  // Starts a scheduler and waits until it is attached; returns the name of its ops. Throws Failure of the
  // scheduler.
  std::string startScheduler(rpc::SchedulerOrders::Reader orders);
  // SIGINT, 2 s later SIGKILL, to a scheduler that runs; its log and its end are posted.
  void stopScheduler();
  // The same, and waits until the kernel has disabled sched_ext: EEVDF has the tasks. Returns the name of its
  // ops. Throws Failure schedulerNotDetached.
  std::string detachScheduler();

  // At the very end, when nothing is watched: waits up to 1 s for children to end. Throws Failure
  // teardownIncomplete with the names of those that are left, which are killed.
  void requireNoChildren();

 private:
  void reap();

  Channel& channel_;
  Scheduler& scheduler_;
  SchedulerStats stats_;
  Workers* workers_ = nullptr;
  Payloads* payloads_ = nullptr;
  Fd childSignals_;
  uint32_t awaited_ = 0;  // times
};

uint64_t inMilliseconds(uint64_t milliseconds);  // CLOCK_MONOTONIC then

}  // namespace ktstr::agent
