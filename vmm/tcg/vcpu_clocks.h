// Host CPU time of QEMU's vCPU threads, as the kernel keeps it in /proc (proc_pid_schedstat() in
// fs/proc/base.c).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "protocol/fd.h"

namespace ktstr::vmm {

// What the time of vCPU i can be read from, at [i]. Empty where one thread runs all vCPUs, where QEMU is
// gone, or where the host's kernel lacks CONFIG_SCHED_INFO. Threads are known by the names that
// debug-threads=on gives.
std::vector<Fd> openVcpuClocks(pid_t qemu);

// Nanoseconds; lags behind by at most one tick of the host while the thread runs. Throws Error "vcpu-gone".
uint64_t readVcpuClock(int clock);

}  // namespace ktstr::vmm
