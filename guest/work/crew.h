// The workers that share a process.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "guest/work/group.h"

namespace ktstr::work {

struct Hand {
  WorkGroup* group;
  uint32_t index;
  std::function<void()> prepare = {};  // what it does first, as the thread that it is
};

// In a process of its own: runs each worker in a thread of its own, or the only one in the calling thread,
// and returns when all have ended. A worker that gets SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT notes it in
// its page before the whole process dies of it, so that it is known whose fault it was; an exception that
// leaves a worker is SIGABRT.
void runCrew(const std::vector<Hand>& crew, bool threaded, int startFd) noexcept;

}  // namespace ktstr::work
