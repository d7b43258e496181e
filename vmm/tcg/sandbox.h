// What ktstr-vmm-tcg may do once it serves requests.
#pragma once

#include <vector>

#include "protocol/sandbox.h"

namespace ktstr::vmm {

// `firmware` is the ROM's memfd; `listening`: further connections are accepted. Not in it, among all else:
// open, socket, connect, execve, fork, clone, ptrace, kill, mprotect to executable, ioctl.
Sandbox tcgSandbox(int firmware, const std::vector<int>& listeners);

}  // namespace ktstr::vmm
