#include "guest/work/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace ktstr::work {

void futexWait(const std::atomic<uint32_t>& word, uint32_t value, uint64_t deadlineNs) {
  const timespec deadline = {static_cast<time_t>(deadlineNs / 1'000'000'000),
                             static_cast<long>(deadlineNs % 1'000'000'000)};
  // WAIT_BITSET takes an absolute CLOCK_MONOTONIC time.
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, value, &deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void futexWake(const std::atomic<uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

}  // namespace ktstr::work
