// `ktstr support`: what the monitor can see of a kernel.
#pragma once

namespace ktstr {

// Boots the kernel once, with a short scenario and without a scheduler, and asks `ktstr-monitor support`
// about the RAM that is left of it. Prints the monitor's answer and returns its exit code; the run leaves no
// record. Throws Error "run-failed" if nothing was left.
int showSupport(int argc, char** argv);

}  // namespace ktstr
