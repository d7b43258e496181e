// Futex waits that always end.
#pragma once

#include <atomic>
#include <cstdint>

namespace ktstr::work {

inline constexpr uint64_t longestWaitNs = 50'000'000;  // how late a worker that waits sees its stop word

// Sleeps while `word` has `value`, at most until `deadlineNs` of CLOCK_MONOTONIC. For words in shared memory.
void futexWait(const std::atomic<uint32_t>& word, uint32_t value, uint64_t deadlineNs);
void futexWake(const std::atomic<uint32_t>& word, int count);

}  // namespace ktstr::work
