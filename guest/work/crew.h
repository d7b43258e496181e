// The workers that share a process.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/work/group.h"

namespace ktstr::work {

struct Hand {
  WorkGroup* group;
  uint32_t index;
};

// In a process of its own: runs one worker in the calling thread, several each in a thread of its own, and
// returns when all have ended. A worker that gets SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT notes it in its
// page before the whole process dies of it, so that it is known whose fault it was; an exception that leaves
// a worker is SIGABRT.
void runCrew(const std::vector<Hand>& crew, int startFd) noexcept;

}  // namespace ktstr::work
