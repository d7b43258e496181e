#include <sched.h>

#include "guest/work/group.h"

namespace ktstr::work {

void spinWait(Telemetry& telemetry, WorkerPage& page, rpc::WorkType::SpinWait::Reader settings) {
  const uint32_t units = settings.getSpinIters();
  while (!telemetry.stopping()) {
    spin(page, units);
    telemetry.iteration(units);
  }
}

// A worker that yields still wants to run: time spent behind others in the queue is a gap.
void yieldHeavy(Telemetry& telemetry) {
  while (!telemetry.stopping()) {
    telemetry.iteration(1);
    sched_yield();
  }
}

}  // namespace ktstr::work
