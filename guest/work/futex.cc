#include "guest/work/group.h"
#include "guest/work/wait.h"

namespace ktstr::work {
namespace {

// Waits until it is this side's turn. False: told to stop.
bool awaitTurn(Telemetry& telemetry, PairPage& pair, uint32_t side) {
  telemetry.block();
  for (;;) {
    const WaitEnd end = futexWait(pair.turn, 1 - side, monotonicNs() + longestWaitNs);
    if (pair.turn.load(std::memory_order_acquire) == side) {
      // Strictly in turns, so the stamp is the partner's last call. Without a sleep there was no wake-up.
      const uint64_t stamp = pair.stampNs[0].load(std::memory_order_relaxed);
      end == WaitEnd::changed ? telemetry.rearm() : telemetry.woken(stamp);
      return true;
    }
    if (telemetry.stopping()) {
      telemetry.rearm();
      return false;
    }
  }
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
