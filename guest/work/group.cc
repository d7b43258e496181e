#include "guest/work/group.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "guest/scenario/work_types.h"
#include "guest/work/wait.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::work {
namespace {

PairPipes makePipes() {
  PairPipes pipes;
  for (int side = 0; side < 2; side++) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw errnoError("pipe-failed", "make a pair's pipe");
    pipes.read[1 - side] = Fd(ends[0]);
    pipes.write[side] = Fd(ends[1]);
  }
  return pipes;
}

Mapping sharedMemory(size_t size) {
  return Mapping(makeMemfd("workers", size).get(), 0, size, PROT_READ | PROT_WRITE);
}

}  // namespace

WorkGroup::WorkGroup(rpc::WorkType::Reader type, uint32_t workers)
    : type_(type), workers_(workers), pageMemory_(sharedMemory(workers * sizeof(WorkerPage))) {
  pages_ = reinterpret_cast<WorkerPage*>(pageMemory_.data());
  if (workGroupSize(type) != 2) return;
  pairMemory_ = sharedMemory(workers / 2 * sizeof(PairPage));
  pairs_ = reinterpret_cast<PairPage*>(pairMemory_.data());
  for (uint32_t pair = 0; type.isPipeIo() && pair < workers / 2; pair++) pipes_.push_back(makePipes());
}

void WorkGroup::run(uint32_t index, int startFd) {
  Telemetry telemetry(page(index));
  pollfd start = {startFd, POLLIN, 0};
  while (poll(&start, 1, -1) < 0 && errno == EINTR) continue;
  telemetry.begin();
  work(telemetry, index);
  telemetry.finish();
}

void WorkGroup::work(Telemetry& telemetry, uint32_t index) {
  WorkerPage& own = page(index);
  const uint32_t pair = index / 2, side = index % 2;
  switch (type_.which()) {
    case rpc::WorkType::SPIN_WAIT:
      return spinWait(telemetry, own, type_.getSpinWait());
    case rpc::WorkType::YIELD_HEAVY:
      return yieldHeavy(telemetry);
    case rpc::WorkType::BURSTY:
      return bursty(telemetry, own, type_.getBursty());
    case rpc::WorkType::FUTEX_PING_PONG:
      return futexPingPong(telemetry, own, pairs_[pair], side, type_.getFutexPingPong());
    case rpc::WorkType::PIPE_IO:
      return pipeIo(telemetry, own, pairs_[pair], pipes_[pair], side, type_.getPipeIo());
  }
}

void WorkGroup::stop(uint32_t index) {
  page(index).stop.store(1, std::memory_order_relaxed);
  futexWake(page(index).stop, 1);
}

}  // namespace ktstr::work
