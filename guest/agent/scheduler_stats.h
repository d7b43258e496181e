// What the scheduler says of itself: asked, when the host wants to know, over the Unix socket on which the
// schedulers of github.com/sched-ext/scx (rust/scx_stats) serve their statistics. One line of JSON there, one
// back.
#pragma once

#include <cstdint>
#include <string>

#include "guest/agent/channel.h"
#include "protocol/fd.h"

namespace ktstr::agent {

class SchedulerStats {
 public:
  // `channel` must outlive it.
  explicit SchedulerStats(Channel& channel, std::string path = "/var/run/scx/root/stats")
      : channel_(channel), path_(std::move(path)) {}

  // To be called often, never blocks: asks if the host wants it, reads what has come, and posts one
  // schedulerStats for each request: the answer, or why there is none within 500 ms.
  void look();
  int descriptor() const { return socket_.get(); }  // with the answer; -1: none is awaited

 private:
  void ask();
  void readAnswer();
  void post(const std::string& answer, const std::string& problem);

  Channel& channel_;
  std::string path_;
  Fd socket_;
  std::string answer_;
  uint32_t request_ = 0;
  uint64_t deadlineNs_ = 0;
};

}  // namespace ktstr::agent
