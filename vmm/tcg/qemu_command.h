// The command line of the QEMU that runs a checked machine.
#pragma once

#include <string>
#include <vector>

#include "vmm/machine_check.h"

namespace ktstr::vmm {

// Numbers under which QEMU finds its descriptors; consecutive.
namespace qemufd {
enum : int { ram = 3, base, mailbox, firmware, qmp, console, doorbell, end };
}

// Above this many vCPUs one emulation thread is faster than one each on ordinary hosts: 32 vCPUs on 2 cores
// reached init in 10 s instead of 37 s, 16 in 3.5 s against 2.6 s.
constexpr uint32_t kMaxMultiThreaded = 16;

inline const char* tcgThreading(uint32_t vcpus) {
  return vcpus <= kMaxMultiThreaded ? "multi" : "single";
}

// Everything after argv[0]. The machine starts paused, without any default device, talks QMP and two serial
// ports on the descriptors above, and exits instead of rebooting. Throws Error "machine-invalid" if the
// machine wants APIC ids other than those QEMU derives from the topology (one socket per LLC).
std::vector<std::string> qemuArguments(const CheckedMachine& machine);

// The APIC id QEMU gives vCPU `index`: thread, core and LLC numbers in bit fields of the smallest widths.
uint32_t qemuApicId(const CheckedMachine& machine, uint32_t index);

}  // namespace ktstr::vmm
