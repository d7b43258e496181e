// What ktstr-vmm may do, by role and by phase.
#pragma once

#include <optional>
#include <vector>

#include "protocol/sandbox.h"

namespace ktstr::vmm {

// While it waits for its machine and makes it: the set-up ioctls of the VMs that are there already
// (Kvm::open()), those of vCPUs by number, threads, mappings of memory objects.
Sandbox setUpSandbox(const std::vector<int>& listeners, const std::vector<int>& vms);

// The main thread from then on: no ioctl, no thread, no mapping of a descriptor any more.
Sandbox servingSandbox(const std::vector<int>& listeners);

// A vCPU thread: KVM_RUN and reading registers on its own vCPU, bytes on the serial lines, events, locks; and
// where interrupts lead in `routed`, the VM whose I/O APIC is ours.
Sandbox vcpuSandbox(int vcpu, const std::vector<int>& lines, const std::vector<int>& events,
                    std::optional<int> routed);

}  // namespace ktstr::vmm
