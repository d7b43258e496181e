#include "guest/work/group.h"
#include "guest/work/wait.h"

namespace ktstr::work {
namespace {

// Waits until it is this side's turn. False: told to stop.
bool awaitTurn(Telemetry& telemetry, PairPage& pair, uint32_t side) {
  telemetry.block();
  while (pair.turn.load(std::memory_order_acquire) != side) {
    if (telemetry.stopping()) {
      telemetry.rearm();
      return false;
    }
    futexWait(pair.turn, 1 - side, monotonicNs() + longestWaitNs);
  }
  telemetry.resume(
      pair.stampNs[0].load(std::memory_order_relaxed));  // strictly in turns: the partner's last call
  return true;
}

}  // namespace

void futexPingPong(Telemetry& telemetry, WorkerPage& page, PairPage& pair, uint32_t side,
                   rpc::WorkType::FutexPingPong::Reader settings) {
  const uint32_t units = settings.getSpinIters();
  if (side != 0 && !awaitTurn(telemetry, pair, side)) return;
  while (!telemetry.stopping()) {
    spin(page, units);
    pair.stampNs[0].store(monotonicNs(), std::memory_order_relaxed);
    pair.turn.store(1 - side, std::memory_order_release);
    futexWake(pair.turn, 1);
    telemetry.iteration(units);
    if (!awaitTurn(telemetry, pair, side)) return;
  }
}

}  // namespace ktstr::work
