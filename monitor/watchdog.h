// The time after which the kernel ends a scheduler that leaves a runnable task waiting, set from outside.
//
// Linux keeps it in jiffies in scx_sched.watchdog_timeout of the attached scheduler, older kernels in the
// static scx_watchdog_timeout, both made anew with each scheduler. Half of it after each check the next one
// comes (scx_watchdog_workfn; half of the shortest is scx_watchdog_interval where that is). Each tick ends
// the scheduler as well if the last check, at scx_watchdog_timestamp, is longer ago than the timeout
// ("watchdog failed to check in"). Who shortens
// the timeout alone therefore ends healthy schedulers: the check that is armed comes at half of the old one.
// So after shortening, the timestamp is kept fresh until that check has come, or should have: in a guest that
// stalls meanwhile nobody may run who checks. From then on the new timeout holds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"

namespace ktstr {

inline constexpr uint64_t minWatchdogMs = 1000, maxWatchdogMs = 3'600'000;

class Watchdog {
 public:
  // Both must outlive this object.
  Watchdog(const GuestKernel& kernel, const KernelLayout& layout, uint64_t wantedMs);

  // What this kernel lacks for it; empty: nothing.
  const std::string& absent() const { return absent_; }
  const std::string& place() const { return place_; }  // "scx_sched.watchdog_timeout", "scx_watchdog_timeout"

  struct Word {
    uint64_t address;  // in the guest's kernel
    uint64_t value;
  };
  struct Plan {
    uint64_t scheduler;       // *scx_root
    uint64_t jiffies;         // now
    bool timeout;             // the timeout is among the words; else the timestamp alone
    uint64_t beforeMs;        // the timeout so far
    std::vector<Word> words;  // in the order in which they must be written
  };
  // What is to be written now, if anything; to be asked each period while a scheduler is enabled. A plan with
  // the timeout goes to memory that is freed with its scheduler: it must be asked for, and written, while the
  // guest stands still.
  std::optional<Plan> plan() const;
  // The plan's words have been written.
  void written(const Plan& plan);
  std::optional<uint64_t> timeoutMs() const;  // now

 private:
  struct Now {
    uint64_t scheduler, address, jiffies;  // address: of the timeout
  };
  std::optional<Now> now() const;

  const GuestKernel& kernel_;
  std::string place_, absent_;
  std::optional<uint32_t> field_;  // of scx_sched
  std::optional<uint64_t> root_, timeout_, timestamp_, interval_, jiffies_;
  uint64_t hertz_ = 0, wanted_ = 0;        // 1/s, jiffies
  std::optional<uint64_t> lastTimestamp_;  // that we wrote
  uint64_t freshUntil_ = 0;                // jiffies; the check that was armed comes before
};

}  // namespace ktstr
