// /dev/kvm, and a virtual machine made from it: memory slots, interrupt controllers, timer, vCPUs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/fd.h"
#include "vmm/engine.h"
#include "vmm/kvm/ioctl.h"
#include "vmm/machine_check.h"

namespace ktstr::vmm {

// /dev/kvm with all that we need of it, and two VMs, one of which is to become the machine: interrupt
// controllers and timer are there before any machine is asked for, because KVM spends milliseconds waiting
// for itself (RCU grace periods) on them and on the memory slots that follow at once. The other stays unused:
// ending it would take as long.
struct Kvm {
  Fd fd;
  Fd vm;
  Fd wideVm;  // with a split irqchip, for APIC ids above 254; one of the two is used
  uint32_t maxVcpus = 0;
  uint32_t maxVcpuId = 0;         // exclusive
  size_t runBytes = 0;            // of a vCPU's shared page
  bool keepsIdle = false;         // can keep HLT and PAUSE in the guest
  std::vector<CpuidEntry> cpuid;  // what a guest may be told: KVM_GET_SUPPORTED_CPUID

  // Throws Error "kvm-missing", "kvm-no-permission", "kvm-incapable" naming the capability, "kvm-failed".
  static Kvm open();
};

// A vCPU: its descriptor, its page shared with KVM, and what can be asked of it while it does not run.
class Vcpu {
 public:
  Vcpu(int vm, uint32_t apicId, size_t runBytes, const std::vector<CpuidEntry>& cpuid,
       const std::vector<MsrEntry>& msrs);

  int fd() const { return fd_.get(); }
  kvm_run& run() { return *reinterpret_cast<kvm_run*>(shared_.data()); }
  // While it is not 0 KVM_RUN returns at once; any thread may change it.
  std::atomic_ref<uint8_t> leaveAtOnce() { return std::atomic_ref(run().immediate_exit); }

  // 64-bit mode at the prepared entry. Once, for the boot vCPU; the others wait for INIT and SIPI. With
  // `x2apic` in x2APIC mode, as firmware leaves it where APIC ids exceed 254: Linux ignores such CPUs
  // otherwise.
  void enter(const BootState& boot, bool x2apic);
  VcpuRegisters registers() const;
  // For a report: "rip 0x... rsp 0x... cr0 ..." .
  std::string dump() const;
  // Tells a guest that uses kvm-clock that it was not its fault that time has passed (soft lockup watchdogs).
  void noteFreeze() const;

 private:
  Fd fd_;
  Mapping shared_;
};

class Vm {
 public:
  // Takes a VM of `kvm`. RAM, base and mailbox become slots; base is read-only and shared by all who map
  // it. Throws Error "kvm-failed".
  Vm(Kvm& kvm, const CheckedMachine& machine, const MachineMemory& memory, std::byte* ram);

  // Writing to `event` (an eventfd) pulses the interrupt line.
  void connect(unsigned gsi, int event);
  std::vector<Vcpu>& vcpus() { return vcpus_; }
  int fd() const { return fd_.get(); }

 private:
  Fd fd_;
  Mapping base_, mailbox_;
  std::vector<Vcpu> vcpus_;
};

}  // namespace ktstr::vmm
