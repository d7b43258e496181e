// The workers of one WorkSpec: what they share, made before they are forked, and the way each of them goes.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/work/seat.h"

namespace ktstr::work {

class WorkGroup {
 public:
  // `type` must outlive the group (after a fork: in the child as well, where it is the same memory).
  // `workers` is a multiple of workGroupSize(type). Throws Error "map-failed", "pipe-failed", "disk-failed",
  // "custom-unknown" for a function without a program, "scenario-invalid" for a type of a later schema.
  // `pages`: those of the group whose workers this process is, in a program that was executed.
  WorkGroup(Type::Reader type, uint32_t workers, Surroundings surroundings = {}, Fd pages = {});

  uint32_t workers() const { return workers_; }
  WorkerPage& page(uint32_t index) { return pages_[index]; }
  int pages() const { return pageFile_.get(); }  // of their memory

  // In the worker's process or thread: waits until `startFd` (an eventfd, which wakes all at once) is
  // readable, then works until told to stop. Every wait inside is cut at 50 ms or by the stop word itself, so
  // a worker that gets a CPU stops within 100 ms.
  void run(uint32_t index, int startFd);

  // From the agent: tells one worker to finish; does not wait.
  void stop(uint32_t index);

 private:
  size_t groupBytes() const;
  Group& groupOf(uint32_t number);
  Member* membersOf(uint32_t number);
  std::atomic<uint64_t>* slotsOf(uint32_t number);

  Type::Reader type_;
  uint32_t workers_, size_;
  size_t slots_;  // of each group
  Surroundings surroundings_;
  Fd pageFile_;
  Mapping pageMemory_, groupMemory_;
  WorkerPage* pages_ = nullptr;
  std::vector<GroupFiles> files_;  // of each group
  Fd disk_;
};

}  // namespace ktstr::work
