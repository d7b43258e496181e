// The workers of one WorkSpec: their shared memory, made before they are forked, and what each of them does.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "guest/work/telemetry.h"
#include "protocol/fd.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::work {

// What the two workers 2k and 2k+1 of a pair type share.
struct alignas(64) PairPage {
  std::atomic<uint32_t> turn;  // futexPingPong: whose turn it is, 0 or 1
  std::atomic<uint64_t>
      stampNs[4];  // when the partner made the call that wakes: futex uses [0], pipes two per direction
};

// The two pipes of a pair: reading and writing end of each worker.
struct PairPipes {
  Fd read[2], write[2];
};

class WorkGroup {
 public:
  // `type` must outlive the group (after a fork: in the child as well, where it is the same memory).
  // `workers` is a multiple of workGroupSize(type). Throws Error "map-failed", "pipe-failed".
  WorkGroup(rpc::WorkType::Reader type, uint32_t workers);

  uint32_t workers() const { return workers_; }
  WorkerPage& page(uint32_t index) { return pages_[index]; }

  // In the worker's process: waits until `startFd` (an eventfd, which wakes all at once) is readable, then
  // works until told to stop. Every wait inside is cut at 50 ms or by the stop word itself, so a worker that
  // gets a CPU stops within 100 ms.
  void run(uint32_t index, int startFd);

  // From the agent: tells one worker to finish; does not wait.
  void stop(uint32_t index);

 private:
  void work(Telemetry& telemetry, uint32_t index);

  rpc::WorkType::Reader type_;
  uint32_t workers_;
  Mapping pageMemory_, pairMemory_;
  WorkerPage* pages_ = nullptr;
  PairPage* pairs_ = nullptr;
  std::vector<PairPipes> pipes_;
};

// The loops, one file each. They return when the page's stop word is set.
void spinWait(Telemetry& telemetry, WorkerPage& page, rpc::WorkType::SpinWait::Reader settings);
void yieldHeavy(Telemetry& telemetry);
void bursty(Telemetry& telemetry, WorkerPage& page, rpc::WorkType::Bursty::Reader settings);
void futexPingPong(Telemetry& telemetry, WorkerPage& page, PairPage& pair, uint32_t side,
                   rpc::WorkType::FutexPingPong::Reader settings);
void pipeIo(Telemetry& telemetry, WorkerPage& page, PairPage& pair, const PairPipes& pipes, uint32_t side,
            rpc::WorkType::PipeIo::Reader settings);

}  // namespace ktstr::work
