// Work of the test's author: functions of this program known by name, for the work type `custom`.
#pragma once

#include <string>

#include "guest/work/seat.h"

namespace ktstr::work {

// Works until seat.stopping(), looking at it at least every 100 ms, and calls seat.telemetry.iteration() for
// each piece of work; all that it measures, it measures itself. The seat is that of a worker alone in its
// group. What a process of its own may do it may do: what it leaves behind ends with its cgroup.
using CustomFunction = void (*)(Seat& seat);

// To be called before the agent begins. A name is taken once: Error "custom-invalid" for the second.
void registerCustom(const std::string& name, CustomFunction function);

// Throws Error "custom-unknown", which lists the names there are.
CustomFunction findCustom(const std::string& name);

}  // namespace ktstr::work
