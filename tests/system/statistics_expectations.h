// What the monitor sees of a kernel's statistics is what that kernel says. The counters only grow: what the
// guest tells lies between what was seen before and after, and is equal where nothing happened meanwhile.
#pragma once

#include "tests/system/watched.h"

namespace ktstr::testing {

// /sys/kernel/sched_ext/root/events.
void expectEventsOfTheGuest(Watched& watched);
// /proc/schedstat, of CPUs and domains.
void expectSchedstatOfTheGuest(Watched& watched);
// Runs and time of the attached scheduler's programs in /proc/PID/fdinfo, as `bpftool prog show` has them.
void expectProgramRunsOfTheGuest(Watched& watched);

// A task that was stopped stands still, and everything is equal: policy, priority, class, run time and
// switches as /proc/PID/sched has them.
void expectStoppedTaskOfTheGuest(Watched& watched);

}  // namespace ktstr::testing
