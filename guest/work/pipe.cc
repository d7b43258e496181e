#include <poll.h>
#include <unistd.h>

#include "guest/work/group.h"
#include "guest/work/wait.h"

namespace ktstr::work {
namespace {

// Waits for the partner's byte number `round`. False: told to stop.
bool awaitByte(Telemetry& telemetry, PairPage& pair, int pipe, uint32_t side, uint64_t round) {
  telemetry.block();
  for (char byte;;) {
    if (read(pipe, &byte, 1) == 1) break;
    if (telemetry.stopping()) {
      telemetry.rearm();
      return false;
    }
    pollfd wait = {pipe, POLLIN, 0};
    poll(&wait, 1, static_cast<int>(longestWaitNs / 1'000'000));
  }
  // The partner may be one round ahead, never two: it waits for our byte as well. So two stamps a direction
  // do.
  telemetry.resume(pair.stampNs[(1 - side) * 2 + round % 2].load(std::memory_order_relaxed));
  return true;
}

}  // namespace

void pipeIo(Telemetry& telemetry, WorkerPage& page, PairPage& pair, const PairPipes& pipes, uint32_t side,
            rpc::WorkType::PipeIo::Reader settings) {
  const uint32_t units = settings.getBurstIters();
  for (uint64_t round = 0; !telemetry.stopping(); round++) {
    spin(page, units);
    pair.stampNs[side * 2 + round % 2].store(monotonicNs(), std::memory_order_relaxed);
    if (write(pipes.write[side].get(), "x", 1) != 1) return;
    telemetry.iteration(units);
    if (!awaitByte(telemetry, pair, pipes.read[side].get(), side, round)) return;
  }
}

}  // namespace ktstr::work
