// Faults on order, for tests of the harness itself: `ktstr.inject=WHAT` on the kernel command line.
// Everything is done to the running system from outside the code that has to cope with it.
//   worker-crash   the first worker gets SIGSEGV
//   worker-stuck   the first worker is suspended, so that it does not stop when told to
//   flood          ten events are posted that do not fit into the mailbox
//   panic          the kernel panics (sysrq c)
//   hang           all workers are suspended and the agent never does anything again
//   no-done        the machine is reset at once, without a last event
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest/agent/channel.h"

namespace ktstr::agent {

// Once the first step's workers run. Empty: nothing. Throws Failure ordersInvalid for an unknown name.
void inject(const std::string& what, Channel& channel, const std::vector<pid_t>& workers);

}  // namespace ktstr::agent
