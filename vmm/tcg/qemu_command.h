// The command line of the QEMU that runs a checked machine.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "vmm/machine_check.h"

namespace ktstr::vmm {

// Numbers under which QEMU finds its descriptors; consecutive.
namespace qemufd {
enum : int { ram = 3, base, mailbox, firmware, qmp, console, doorbell, end };
}

// Up to how many vCPUs each gets an emulation thread; more share one. Two for each CPU of the host: threads
// that the host keeps waiting for longer see stray int3 of the kernel's code patching even in QEMU 10, of
// which one boot in 14 died with 8 vCPUs on 2 CPUs. And 16, because one thread is faster from there on: 32
// vCPUs on 2 CPUs reached init in 10 s instead of 37 s.
constexpr uint32_t mostTcgThreads(uint32_t hostCpus) {
  return std::min(16u, 2 * hostCpus);
}

// Everything after argv[0]. The machine starts paused, without any default device, talks QMP and two serial
// ports on the descriptors above, and exits instead of rebooting. Throws Error "machine-invalid" if the
// machine wants APIC ids other than those QEMU derives from the topology (one socket per LLC). With more than
// `mostThreads` vCPUs all share one emulation thread.
std::vector<std::string> qemuArguments(const CheckedMachine& machine, uint32_t mostThreads = 16);

// The APIC id QEMU gives vCPU `index`: thread, core and LLC numbers in bit fields of the smallest widths.
uint32_t qemuApicId(const CheckedMachine& machine, uint32_t index);

}  // namespace ktstr::vmm
