#include "vmm/kvm/kvm.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

// Three pages at the top of the 32-bit space that KVM needs on some Intel CPUs; no slot is there.
constexpr uint64_t kIdentityMapGpa = 0xfffbc000, kTssGpa = 0xfffbd000;
constexpr uint32_t kLstar = 0xc0000082;
constexpr int kKeptExits = KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE;

#define KTSTR_CAPABILITY(name) \
  { name, #name }
constexpr std::pair<int, const char*> kNeeded[] = {KTSTR_CAPABILITY(KVM_CAP_USER_MEMORY),
                                                   KTSTR_CAPABILITY(KVM_CAP_READONLY_MEM),
                                                   KTSTR_CAPABILITY(KVM_CAP_IRQCHIP),
                                                   KTSTR_CAPABILITY(KVM_CAP_PIT2),
                                                   KTSTR_CAPABILITY(KVM_CAP_IRQFD),
                                                   KTSTR_CAPABILITY(KVM_CAP_EXT_CPUID),
                                                   KTSTR_CAPABILITY(KVM_CAP_SET_TSS_ADDR),
                                                   KTSTR_CAPABILITY(KVM_CAP_SET_IDENTITY_MAP_ADDR),
                                                   KTSTR_CAPABILITY(KVM_CAP_IMMEDIATE_EXIT),
                                                   KTSTR_CAPABILITY(KVM_CAP_X2APIC_API),
                                                   KTSTR_CAPABILITY(KVM_CAP_HALT_POLL),
                                                   KTSTR_CAPABILITY(KVM_CAP_SPLIT_IRQCHIP),
                                                   KTSTR_CAPABILITY(KVM_CAP_TSC_DEADLINE_TIMER)};

int extension(int kvm, int capability) {
  return KTSTR_KVM(kvm, KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
}

Fd openDevice() {
  Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (fd) return fd;
  if (errno == EACCES || errno == EPERM) {
    throw errnoError("kvm-no-permission", "open /dev/kvm",
                     "run as a user that may open it, usually of the group kvm, or with --accel tcg");
  }
  throw errnoError(
      "kvm-missing", "open /dev/kvm",
      "load kvm_intel or kvm_amd on a machine with hardware virtualisation, or run with --accel tcg");
}

std::vector<CpuidEntry> supportedCpuid(int kvm) {
  const auto table = std::make_unique<CpuidTable>();
  KTSTR_KVM(kvm, kGetSupportedCpuid, table.get());
  return {table->entries, table->entries + std::min(table->count, kMaxKvmCpuid)};
}

kvm_segment segment(uint16_t selector, uint8_t type, bool code = false, bool system = false) {
  kvm_segment s{};
  s.limit = 0xffffffff;
  s.selector = selector;
  s.type = type;
  s.present = s.g = 1;
  s.s = !system;
  s.l = code;
  s.db = !code && !system;
  return s;
}

void checkVcpus(const Kvm& kvm, const CheckedMachine& machine) {
  if (machine.vcpus > kvm.maxVcpus) {
    throw Error(ExitCode::usage, "too-many-vcpus",
                text(machine.vcpus, " vCPUs; this KVM takes ", kvm.maxVcpus));
  }
  const uint32_t largest = machine.largestApicId();
  if (largest < kvm.maxVcpuId) return;
  throw Error(ExitCode::usage, "apic-id-too-large",
              text("the topology needs APIC id ", largest, "; this KVM takes ids below ", kvm.maxVcpuId),
              "ask for fewer vCPUs, or run with --accel tcg");
}

void enable(int vm, uint32_t capability, uint64_t argument) {
  kvm_enable_cap request{};
  request.cap = capability;
  request.args[0] = argument;
  KTSTR_KVM(vm, KVM_ENABLE_CAP, &request);
}

// Before there are vCPUs.
void applyPlacement(int vm, const Kvm& kvm, const Placement& placement) {
  if (placement.haltPollNanos) enable(vm, KVM_CAP_HALT_POLL, *placement.haltPollNanos);
  if (!placement.keepIdle) return;
  if (!kvm.keepsIdle) {
    throw Error(ExitCode::usage, "exits-not-suppressible",
                "this KVM cannot keep HLT and PAUSE in the guest (KVM_CAP_X86_DISABLE_EXITS)",
                "run without performance mode; the kernel may refuse because of mitigate_smt_rsb or nesting");
  }
  enable(vm, KVM_CAP_X86_DISABLE_EXITS, kKeptExits);
}

// A VM without memory and vCPUs. `wide`: KVM has the local APICs alone (a split irqchip), since the
// destinations of its I/O APIC have 8 bits; that takes its 8259s and 8254 as well.
Fd makeVm(int kvm, bool wide) {
  Fd vm(KTSTR_KVM(kvm, KVM_CREATE_VM, 0ul));
  KTSTR_KVM(vm.get(), KVM_SET_TSS_ADDR, kTssGpa);
  KTSTR_KVM(vm.get(), KVM_SET_IDENTITY_MAP_ADDR, &kIdentityMapGpa);
  enable(vm.get(), KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
  if (wide) {
    enable(vm.get(), KVM_CAP_SPLIT_IRQCHIP, kIoApicLines);
    return vm;
  }
  KTSTR_KVM(vm.get(), KVM_CREATE_IRQCHIP, 0ul);
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61 as well
  KTSTR_KVM(vm.get(), KVM_CREATE_PIT2, &pit);
  return vm;
}

}  // namespace

Kvm Kvm::open() {
  Kvm kvm;
  kvm.fd = openDevice();
  const int fd = kvm.fd.get();
  if (const int version = KTSTR_KVM(fd, KVM_GET_API_VERSION, 0ul); version != KVM_API_VERSION) {
    throw Error(ExitCode::infrastructure, "kvm-incapable",
                text("KVM API version ", version, ", not ", KVM_API_VERSION));
  }
  for (const auto& [number, name] : kNeeded) {
    if (extension(fd, number) > 0) continue;
    throw Error(ExitCode::infrastructure, "kvm-incapable", text("this KVM has no ", name),
                "run on another kernel, or with --accel tcg");
  }
  kvm.maxVcpus = std::min(kMaxVcpus, static_cast<uint32_t>(extension(fd, KVM_CAP_MAX_VCPUS)));
  kvm.maxVcpuId = std::max(kvm.maxVcpus, static_cast<uint32_t>(extension(fd, KVM_CAP_MAX_VCPU_ID)));
  kvm.keepsIdle = (extension(fd, KVM_CAP_X86_DISABLE_EXITS) & kKeptExits) == kKeptExits;
  kvm.runBytes = static_cast<size_t>(KTSTR_KVM(fd, KVM_GET_VCPU_MMAP_SIZE, 0ul));
  kvm.cpuid = supportedCpuid(fd);
  kvm.vm = makeVm(fd, false);
  kvm.wideVm = makeVm(fd, true);
  return kvm;
}

Vcpu::Vcpu(int vm, uint32_t apicId, size_t runBytes, const std::vector<CpuidEntry>& cpuid,
           const std::vector<MsrEntry>& msrs)
    : fd_(KTSTR_KVM(vm, KVM_CREATE_VCPU, static_cast<unsigned long>(apicId))),
      shared_(fd_.get(), 0, runBytes, PROT_READ | PROT_WRITE) {
  const auto table = std::make_unique<CpuidTable>();
  table->count = static_cast<uint32_t>(cpuid.size());
  std::copy(cpuid.begin(), cpuid.end(), table->entries);
  KTSTR_KVM(fd(), kSetCpuid2, table.get());
  for (const MsrEntry& msr : msrs) {
    OneMsr one;
    one.entry.index = msr.index;
    one.entry.data = msr.value;
    if (KTSTR_KVM(fd(), kSetMsrs, &one) != 1) {
      throw Error(ExitCode::infrastructure, "kvm-failed",
                  text("KVM does not take MSR ", hex(msr.index), " = ", hex(msr.value)));
    }
  }
}

void Vcpu::enter(const BootState& boot, bool x2apic) {
  kvm_sregs sregs{};
  KTSTR_KVM(fd(), KVM_GET_SREGS, &sregs);
  sregs.cs = segment(0x10, 11, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x18, 3);
  sregs.tr = segment(0, 11, false, true);  // must be a busy TSS to enter
  sregs.ldt = segment(0, 2, false, true);
  sregs.gdt = {boot.gdtGpa, boot.gdtLimit, {}};
  sregs.cr0 = 0x80050033;  // PG, AM, WP, NE, ET, MP, PE
  sregs.cr3 = boot.cr3;
  sregs.cr4 = 0x20;                      // PAE
  sregs.efer = 0x500;                    // LMA, LME
  if (x2apic) sregs.apic_base |= 0x400;  // IA32_APIC_BASE.EXTD
  KTSTR_KVM(fd(), KVM_SET_SREGS, &sregs);
  kvm_regs regs{};
  regs.rip = boot.rip;
  regs.rsi = boot.rsi;
  regs.rsp = boot.rsp;
  regs.rflags = 2;
  KTSTR_KVM(fd(), KVM_SET_REGS, &regs);
}

VcpuRegisters Vcpu::registers() const {
  kvm_regs regs{};
  kvm_sregs sregs{};
  OneMsr lstar;
  lstar.entry.index = kLstar;
  KTSTR_KVM(fd(), KVM_GET_REGS, &regs);
  KTSTR_KVM(fd(), KVM_GET_SREGS, &sregs);
  KTSTR_KVM(fd(), kGetMsrs, &lstar);
  return {regs.rip, sregs.cr3, lstar.entry.data};
}

std::string Vcpu::dump() const {
  kvm_regs r{};
  kvm_sregs s{};
  KTSTR_KVM(fd(), KVM_GET_REGS, &r);
  KTSTR_KVM(fd(), KVM_GET_SREGS, &s);
  return text("rip ", hex(r.rip), " rsp ", hex(r.rsp), " rflags ", hex(r.rflags), " rax ", hex(r.rax),
              " rbx ", hex(r.rbx), " rcx ", hex(r.rcx), " rdx ", hex(r.rdx), " rsi ", hex(r.rsi), " rdi ",
              hex(r.rdi), " rbp ", hex(r.rbp), " cs ", hex(s.cs.selector), " cr0 ", hex(s.cr0), " cr2 ",
              hex(s.cr2), " cr3 ", hex(s.cr3), " cr4 ", hex(s.cr4), " efer ", hex(s.efer));
}

// Fails with EINVAL in a guest that has no kvm-clock; then there is nobody to tell.
void Vcpu::noteFreeze() const {
  ioctl(fd(), KVM_KVMCLOCK_CTRL, 0);
}

Vm::Vm(Kvm& kvm, const CheckedMachine& machine, const MachineMemory& memory, std::byte* ram) {
  checkVcpus(kvm, machine);
  fd_ = std::move(machine.wideApicIds() ? kvm.wideVm : kvm.vm);
  const int vm = fd_.get();
  applyPlacement(vm, kvm, machine.placement);
  uint32_t slot = 0;
  const auto addSlot = [&](const Region& region, const std::byte* bytes, uint32_t flags) {
    const kvm_userspace_memory_region target{slot++, flags, region.gpa, region.size,
                                             reinterpret_cast<uint64_t>(bytes)};
    KTSTR_KVM(vm, KVM_SET_USER_MEMORY_REGION, &target);
  };
  for (const Region& region : machine.ram) addSlot(region, ram + region.offset, 0);
  if (machine.base) {
    base_ = Mapping(memory.base.get(), 0, machine.base->size, PROT_READ);
    addSlot(*machine.base, base_.data(), KVM_MEM_READONLY);
  }
  if (machine.mailbox) {
    mailbox_ = Mapping(memory.mailbox.get(), 0, machine.mailbox->size, PROT_READ | PROT_WRITE);
    addSlot(*machine.mailbox, mailbox_.data(), 0);
  }
  vcpus_.reserve(machine.vcpus);
  for (size_t i = 0; i < machine.vcpus; ++i)
    vcpus_.emplace_back(vm, machine.apicIds[i], kvm.runBytes, machine.cpuid[i], machine.msrs);
  vcpus_.front().enter(machine.boot, machine.wideApicIds());
}

void Vm::connect(unsigned gsi, int event) {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<uint32_t>(event);
  irqfd.gsi = gsi;
  KTSTR_KVM(fd_.get(), KVM_IRQFD, &irqfd);
}

}  // namespace ktstr::vmm
