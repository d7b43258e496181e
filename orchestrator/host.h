// What the record says about the host.
#pragma once

#include <string>

#include "protocol/record.capnp.h"

namespace ktstr {

// Fills kernel, CPU model, CPUs, memory and load. What cannot be read stays empty.
void readHostFacts(rpc::HostFacts::Builder facts);

// Runs `ktstr-vmm --probe`, which runs tiny guests on /dev/kvm, and returns its line: what KVM is good for
// here.
std::string probeKvm();

// True if the probe's line says that KVM runs unmodified kernels here.
bool kvmRunsLinux(const std::string& probe);

}  // namespace ktstr
