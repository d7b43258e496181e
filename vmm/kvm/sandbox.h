// What ktstr-vmm may do, by role and by phase.
#pragma once

#include <vector>

#include "protocol/sandbox.h"

namespace ktstr::vmm {

// While it waits for its machine and makes it: the set-up ioctls of the VM that is there already
// (Kvm::open()), those of vCPUs by number, threads, mappings of memory objects.
Sandbox setUpSandbox(const std::vector<int>& listeners, int vm);

// The main thread from then on: no ioctl, no thread, no mapping of a descriptor any more.
Sandbox servingSandbox(const std::vector<int>& listeners);

struct VcpuDescriptors {
  int console, doorbell, consoleInterrupt, doorbellInterrupt, wake;
};
// A vCPU thread: KVM_RUN and reading registers on its own vCPU, bytes on the serial lines, events, locks.
Sandbox vcpuSandbox(int vcpu, const VcpuDescriptors& descriptors);

}  // namespace ktstr::vmm
