// Linux that is frozen from outside and goes on: the same expectations on each accelerator.
#pragma once

#include <string>

namespace ktstr::testing {

// Boots `kernel` on `vmm` ("ktstr-vmm", "ktstr-vmm-tcg"), with a shell that counts as its init and watchdogs
// that bark after 4 s. Freezes it again and again, through the Observer as a monitor does: for most of a
// second, until a lease ends by itself, and for six seconds by leases in a row; and takes a core. Expects
// that it stands still then, goes on afterwards, and never notices, and that the core has its tasks.
void expectFrozenLinuxGoesOn(const std::string& vmm, const std::string& kernel);

}  // namespace ktstr::testing
