#include <sched.h>
#include <sys/prctl.h>

#include "guest/work/alu.h"
#include "guest/work/disk.h"
#include "guest/work/loops.h"

namespace ktstr::work {
namespace {

constexpr uint64_t chunk = 256;

// Calls step(), which returns the units it did, until the time is over; returns all units.
template <typename Step>
uint64_t workFor(Seat& seat, uint64_t microseconds, const Step& step) {
  uint64_t units = 0;
  const uint64_t begin = clockNs(), end = begin + microseconds * 1000;
  for (uint64_t now = begin; now < end && !seat.stopping(); now = seat.telemetry.now()) units += step();
  return units;
}

// The same for steps of one sched_yield: the time is over when a look finds it so.
uint64_t yieldFor(Seat& seat, uint64_t microseconds) {
  uint64_t units = 0;
  const uint64_t end = clockNs() + microseconds * 1000;
  while (seat.telemetry.lastNs() < end && !seat.stopping()) units += seat.telemetry.steps(sched_yield);
  return units;
}

uint64_t spinFor(Seat& seat, uint64_t microseconds) {
  return workFor(seat, microseconds, [&] {
    seat.spin(chunk);
    return chunk;
  });
}

void burstAndSleep(Seat& seat, uint64_t burstUs, uint64_t sleepUs) {
  while (!seat.stopping()) {
    seat.telemetry.iteration(spinFor(seat, burstUs));
    seat.sleepUntil(clockNs() + sleepUs * 1000);
  }
}

uint64_t runPhase(Seat& seat, rpc::WorkPhase::Reader phase) {
  switch (phase.which()) {
    case rpc::WorkPhase::SPIN_US:
      return spinFor(seat, phase.getSpinUs());
    case rpc::WorkPhase::SLEEP_US:
      seat.sleepUntil(clockNs() + phase.getSleepUs() * uint64_t{1000});
      return 0;
    case rpc::WorkPhase::YIELD_US:
      return yieldFor(seat, phase.getYieldUs());
    case rpc::WorkPhase::IO_US:
      return workFor(seat, phase.getIoUs(), [&] { return Disk(seat).writeStripe(100); });
    case rpc::WorkPhase::ALU_HOT: {
      const Multiplier chosen = multiplier(phase.getAluHot().getWidth());
      seat.telemetry.detail(chosen.name);
      return workFor(seat, phase.getAluHot().getForUs(), [&] {
        chosen.run(4096);
        return uint64_t{4096};
      });
    }
  }
  return 0;
}

}  // namespace

void bursty(Seat& seat) {
  prctl(PR_SET_TIMERSLACK, 1);  // 50 us by default, which would count as wake latency
  burstAndSleep(seat, seat.type.getBursty().getBurstUs(), seat.type.getBursty().getSleepUs());
}

void idleChurn(Seat& seat) {
  const auto settings = seat.type.getIdleChurn();
  if (settings.getPreciseTiming()) prctl(PR_SET_TIMERSLACK, 1);
  burstAndSleep(seat, settings.getBurstUs(), settings.getSleepUs());
}

void sequence(Seat& seat) {
  while (!seat.stopping()) {
    uint64_t units = 0;
    for (const auto phase : seat.type.getSequence().getPhases()) units += runPhase(seat, phase);
    seat.telemetry.iteration(units);
  }
}

}  // namespace ktstr::work
