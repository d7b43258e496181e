#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/work/loops.h"
#include "guest/work/memory.h"

namespace ktstr::work {
namespace {

bool awaitTurn(Seat& seat) {
  return seat.wait(seat.group.word, [&] { return seat.group.word.load() == seat.position; });
}

// Both work, send each other a byte, and wait for the partner's.
template <typename Work>
void exchangeBytes(Seat& seat, uint64_t units, const Work& work) {
  while (!seat.stopping()) {
    work();
    seat.telemetry.count(units);
    if (!seat.tradeByte(1 - seat.position)) return;
  }
}

void enter(Seat& seat, rpc::WorkerClass wanted) {
  switch (wanted) {
    case rpc::WorkerClass::CFS:
      return;
    case rpc::WorkerClass::BATCH:
      seat.setPolicy(SCHED_BATCH);
      return;
    case rpc::WorkerClass::IDLE:
      seat.setPolicy(SCHED_IDLE);
      return;
    case rpc::WorkerClass::RT:
      seat.setPolicy(SCHED_FIFO, 50);
      return;
  }
}

thread_local Telemetry* signalled = nullptr;

void countSignal(int) {
  if (signalled != nullptr) signalled->event();
}

}  // namespace

void futexPingPong(Seat& seat) {
  const uint32_t units = seat.type.getFutexPingPong().getSpinIters(), partner = 1 - seat.position;
  if (seat.position != 0 && !awaitTurn(seat)) return;
  while (!seat.stopping()) {
    seat.spin(units);
    seat.notify(partner);
    seat.group.word.store(partner);
    futexWake(seat.group.word, 1);
    seat.telemetry.count(units);
    if (!awaitTurn(seat)) return;
  }
}

void pipeIo(Seat& seat) {
  const uint32_t units = seat.type.getPipeIo().getBurstIters();
  exchangeBytes(seat, units, [&] { seat.spin(units); });
}

void cachePipe(Seat& seat) {
  const auto settings = seat.type.getCachePipe();
  Buffer buffer(seat, settings.getSizeKib());
  if (!buffer) return;
  exchangeBytes(seat, settings.getBurstIters(), [&] { buffer.touch(settings.getBurstIters(), 64); });
}

void asymmetricWaker(Seat& seat) {
  const auto settings = seat.type.getAsymmetricWaker();
  const bool waker = seat.position == 0;
  enter(seat, waker ? settings.getWakerClass() : settings.getWakeeClass());
  while (!seat.stopping()) {
    const uint32_t seen = seat.group.word.load();
    if (!waker && !seat.wait(seat.group.word, [&] { return seat.group.word.load() != seen; })) return;
    seat.spin(settings.getBurstIters());
    if (waker) {
      seat.notify(1);
      seat.group.word.fetch_add(1);
      futexWake(seat.group.word, 1);
    }
    seat.telemetry.iteration(settings.getBurstIters());
  }
}

void signalStorm(Seat& seat) {
  const auto settings = seat.type.getSignalStorm();
  struct sigaction action {};
  action.sa_handler = countSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);  // stays: a signal that comes late does no harm
  signalled = &seat.telemetry;
  std::atomic<uint32_t>& partner = seat.members[1 - seat.position].tid;
  seat.me().tid.store(static_cast<uint32_t>(gettid()));
  while (!seat.stopping()) {
    for (uint32_t i = 0; i < settings.getSignalsPerIter(); i++) {
      if (seat.stopping()) break;
      const uint32_t tid = partner.load();
      if (tid != 0 && syscall(SYS_tkill, tid, SIGUSR1) != 0 && partner.load() != 0)
        seat.telemetry.error("tkill");
    }
    if (seat.stopping()) break;  // a part of an iteration is none
    seat.spin(settings.getWorkIters());
    seat.telemetry.iteration(settings.getWorkIters());
  }
  seat.me().tid.store(0);
  signalled = nullptr;
}

}  // namespace ktstr::work
