// Real workers of one group for tests.
#pragma once

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "guest/work/crew.h"
#include "guest/work/schedstat.h"
#include "protocol/fd.h"
#include "protocol/json.h"

namespace ktstr::work {

// Real workers of one group in real processes.
class Crew {
 public:
  // `type` is JSON of a WorkType. `together`: threads of one process, else a process each.
  Crew(const std::string& type, uint32_t workers, bool together = false, Surroundings surroundings = {}) {
    fromJson(type, message_.initRoot<rpc::WorkType>());
    group_ = std::make_unique<WorkGroup>(message_.getRoot<rpc::WorkType>().asReader(), workers,
                                         std::move(surroundings));
    start_ = Fd(eventfd(0, EFD_CLOEXEC));
    std::vector<Hand> hands;
    for (uint32_t index = 0; index < workers; index++) {
      hands.push_back({group_.get(), index});
      if (together && index + 1 < workers) continue;
      begin(hands);
      hands.clear();
    }
  }
  ~Crew() {
    for (const pid_t pid : pids_) kill(pid, SIGKILL);
    for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
  }

  void go() {
    for (uint32_t index = 0; index < group_->workers(); index++) page(index).goNs = monotonicNs();
    EXPECT_EQ(eventfd_write(start_.get(), 1), 0);
  }
  // Lets them work until each from `first` on has finished `iterations`; false: one did not in 20 s.
  bool reach(uint64_t iterations, uint32_t first = 0) {
    const uint64_t deadline = monotonicNs() + 20'000'000'000;
    for (uint32_t index = first; index < group_->workers();) {
      if (page(index).iterations.load() >= iterations)
        index++;
      else if (monotonicNs() > deadline)
        return false;
      else
        usleep(1000);
    }
    return true;
  }
  // Tells all to stop and returns how long the slowest took, without what it waited for a CPU.
  uint64_t stop() {
    std::vector<uint64_t> waited;
    for (uint32_t index = 0; index < group_->workers(); index++)
      waited.push_back(
          schedstatOf(static_cast<pid_t>(page(index).tid.load())).value_or(Schedstat{}).runDelayNs);
    const uint64_t begin = monotonicNs();
    for (uint32_t index = 0; index < group_->workers(); index++) group_->stop(index);
    for (const pid_t pid : pids_) {
      int status = -1;
      EXPECT_EQ(waitpid(pid, &status, 0), pid);
      EXPECT_EQ(status, 0);
    }
    pids_.clear();
    uint64_t slowest = 0;
    for (uint32_t index = 0; index < group_->workers(); index++) {
      const uint64_t took = page(index).endNs.load() - begin;
      slowest = std::max(slowest, took - std::min(took, page(index).endRunDelayNs.load() - waited[index]));
    }
    return slowest;
  }
  WorkerPage& page(uint32_t index) { return group_->page(index); }
  rpc::WorkType::Reader type() { return message_.getRoot<rpc::WorkType>().asReader(); }
  const std::vector<pid_t>& pids() const { return pids_; }

 private:
  void begin(const std::vector<Hand>& hands) {
    const pid_t child = fork();
    if (child == 0) {
      runCrew(hands, hands.size() > 1, start_.get());
      _exit(0);
    }
    pids_.push_back(child);
  }

  capnp::MallocMessageBuilder message_;
  std::unique_ptr<WorkGroup> group_;
  Fd start_;
  std::vector<pid_t> pids_;
};

inline uint64_t samplesOf(const Histogram& histogram) {
  uint64_t sum = 0;
  for (size_t bucket = 0; bucket < Histogram::buckets; bucket++) sum += histogram.count(bucket);
  return sum;
}

}  // namespace ktstr::work
