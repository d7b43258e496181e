// What a foreign source tree's Makefiles, compilers and scripts may ask the kernel for.
#pragma once

#include "protocol/sandbox.h"

namespace ktstr::kbuild {

// The filter under which a build runs, inherited by everything it starts. It has files, processes, memory,
// pipes, signals and waiting; it has no sockets, mount, ptrace, bpf, perf, modules, kexec, keys, namespaces
// (but by clone3, whose flags no filter sees), no other user or group, no reboot. `process` goes into log
// lines. Measured: everything that make, gcc 12, clang 22, python3, install and the tree's own bpftool call
// while building 7.3's tools/sched_ext, and what other versions of the same are known to call instead.
Sandbox buildSandbox(const char* process);

}  // namespace ktstr::kbuild
