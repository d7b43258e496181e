#include <sched.h>

#include "guest/work/loops.h"

namespace ktstr::work {
namespace {

void spinForever(Seat& seat, uint32_t units) {
  while (!seat.stopping()) {
    seat.spin(units);
    seat.telemetry.iteration(units);
  }
}

}  // namespace

void spinWait(Seat& seat) {
  spinForever(seat, seat.type.getSpinWait().getSpinIters());
}

// A worker that yields still wants to run: time spent behind others in the queue is a gap.
void yieldHeavy(Seat& seat) {
  seat.repeat(1, sched_yield);
}

void mixed(Seat& seat) {
  const uint32_t units = seat.type.getMixed().getSpinIters();
  while (!seat.stopping()) {
    seat.spin(units);
    seat.telemetry.iteration(units);
    sched_yield();
  }
}

void smtSiblingSpin(Seat& seat) {
  const uint32_t units = seat.type.getSmtSiblingSpin().getSpinIters();
  while (!seat.stopping()) {
    seat.spin(units);
    seat.telemetry.timedIteration(units);
  }
}

void preemptStorm(Seat& seat) {
  const auto settings = seat.type.getPreemptStorm();
  if (seat.position != 0) return spinForever(seat, 1024);
  seat.setPolicy(SCHED_FIFO, 1);
  while (!seat.stopping()) {
    seat.spin(settings.getRtBurstIters());
    seat.telemetry.iteration(settings.getRtBurstIters());
    seat.sleepUntil(clockNs() + settings.getRtSleepUs() * uint64_t{1000});
  }
}

void rtStarvation(Seat& seat) {
  const auto settings = seat.type.getRtStarvation();
  if (seat.position < settings.getRtWorkers())
    seat.setPolicy(SCHED_FIFO, static_cast<int>(settings.getRtPriority()));
  spinForever(seat, settings.getBurstIters());
}

}  // namespace ktstr::work
