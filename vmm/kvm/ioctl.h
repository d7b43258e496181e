// KVM's ioctls, with evidence when one fails, and the structures that linux/kvm.h cannot give C++.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "protocol/error.h"

namespace ktstr::vmm {

constexpr unsigned kMaxKvmCpuid = 256;
constexpr unsigned kIoApicLines = 24;

// linux/kvm.h's flexible arrays have another size in C++ than in C, and with them these ioctl numbers.
struct CpuidTable {
  uint32_t count = kMaxKvmCpuid, padding = 0;
  kvm_cpuid_entry2 entries[kMaxKvmCpuid] = {};
};
struct OneMsr {
  uint32_t count = 1, padding = 0;
  kvm_msr_entry entry = {};
};
struct GsiRoutes {
  uint32_t count = 0, flags = 0;
  kvm_irq_routing_entry entries[kIoApicLines] = {};
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, uint64_t);

// Throws Error "kvm-failed" with the ioctl's name and errno.
inline int kvmRequest(int fd, unsigned long number, const void* argument, const char* name) {
  const int result = ioctl(fd, number, argument);
  if (result < 0) throw errnoError("kvm-failed", name);
  return result;
}
inline int kvmRequest(int fd, unsigned long number, unsigned long argument, const char* name) {
  return kvmRequest(fd, number, reinterpret_cast<const void*>(argument), name);
}
#define KTSTR_KVM(fd, number, argument) kvmRequest(fd, number, argument, #number)

}  // namespace ktstr::vmm
