#include <sys/prctl.h>

#include "guest/work/group.h"
#include "guest/work/wait.h"

namespace ktstr::work {

void bursty(Telemetry& telemetry, WorkerPage& page, rpc::WorkType::Bursty::Reader settings) {
  constexpr uint64_t chunk = 256;
  prctl(PR_SET_TIMERSLACK, 1);  // 50 us by default, which would count as wake latency
  while (!telemetry.stopping()) {
    uint64_t units = 0;
    for (const uint64_t end = monotonicNs() + settings.getBurstUs() * uint64_t{1000}; monotonicNs() < end;) {
      spin(page, chunk);
      units += chunk;
      telemetry.checkpoint();
      if (telemetry.stopping()) break;
    }
    telemetry.iteration(units);
    // The sleep is a wait on the stop word, so that being stopped ends it.
    telemetry.block();
    const uint64_t wakeNs = monotonicNs() + settings.getSleepUs() * uint64_t{1000};
    while (!telemetry.stopping() && monotonicNs() < wakeNs) futexWait(page.stop, 0, wakeNs);
    monotonicNs() >= wakeNs ? telemetry.resume(wakeNs) : telemetry.rearm();
  }
}

}  // namespace ktstr::work
