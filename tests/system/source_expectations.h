// Every command of ktstr-monitor at each of its sources: a VMM's socket, its RAM, and a core.
#pragma once

#include "tests/system/core_expectations.h"
#include "tests/system/watched.h"

namespace ktstr::testing {

// What stands still is said alike by all three; of what moves each has all members. What means nothing of a
// core is refused by name. `core`: of this guest.
void expectEveryCommandAtEverySource(Watched& watched, const GuestCore& core);

}  // namespace ktstr::testing
