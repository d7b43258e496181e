#include "vmm/kvm/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <optional>

#include "protocol/error.h"
#include "protocol/text.h"
#include "vmm/kvm/ioctl.h"

extern "C" {
extern const std::byte ktstr_probe[];
extern const std::byte ktstr_probe_end[];
}

namespace ktstr::vmm {
namespace {

constexpr size_t kMemory = size_t{2} << 20;
constexpr uint64_t kCode = 0x1000, kLongEntry = 0x1010, kStep = 0x800, kCount = 0x808, kPml4 = 0x4000;
constexpr uint32_t kSteps = 6;           // in flat/probe.S
constexpr uint32_t kLoops = 20'000'000;  // of two instructions

constexpr unsigned long kIoctls[] = {KVM_GET_API_VERSION,
                                     KVM_CREATE_VM,
                                     KVM_GET_VCPU_MMAP_SIZE,
                                     kGetSupportedCpuid,
                                     KVM_SET_USER_MEMORY_REGION,
                                     KVM_CREATE_VCPU,
                                     kSetCpuid2,
                                     KVM_GET_SREGS,
                                     KVM_SET_SREGS,
                                     KVM_GET_REGS,
                                     KVM_SET_REGS,
                                     KVM_RUN};

volatile sig_atomic_t expired = 0;
kvm_run* volatile running = nullptr;

void expire(int) {
  expired = 1;
  if (kvm_run* run = running) run->immediate_exit = 1;
}

double cpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A VM with one vCPU and the guests of flat/probe.S in its memory.
class ProbeVm {
 public:
  explicit ProbeVm(const Fd& kvm) : memory_(makeMemory()), vm_(KTSTR_KVM(kvm.get(), KVM_CREATE_VM, 0ul)) {
    const kvm_userspace_memory_region region{0, 0, 0, kMemory, reinterpret_cast<uint64_t>(memory_)};
    KTSTR_KVM(vm_.get(), KVM_SET_USER_MEMORY_REGION, &region);
    vcpu_ = Fd(KTSTR_KVM(vm_.get(), KVM_CREATE_VCPU, 0ul));
    const int size = KTSTR_KVM(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0ul);
    shared_ = Mapping(vcpu_.get(), 0, static_cast<size_t>(size), PROT_READ | PROT_WRITE);
    copyCpuid(kvm);
    running = run();
  }
  ~ProbeVm() {
    running = nullptr;
    munmap(memory_, kMemory);
  }
  ProbeVm(const ProbeVm&) = delete;
  ProbeVm& operator=(const ProbeVm&) = delete;

  void enterRealMode() {
    kvm_sregs sregs{};
    KTSTR_KVM(vcpu_.get(), KVM_GET_SREGS, &sregs);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    KTSTR_KVM(vcpu_.get(), KVM_SET_SREGS, &sregs);
    setRip(kCode);
  }

  void enterLongMode() {
    kvm_sregs sregs{};
    KTSTR_KVM(vcpu_.get(), KVM_GET_SREGS, &sregs);
    const kvm_segment code{0, 0xffffffff, 0x10, 11, 1, 0, 0, 1, 1, 1, 0, 0, 0};
    const kvm_segment data{0, 0xffffffff, 0x18, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0};
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = 0x80050033;  // PG AM WP NE ET MP PE
    sregs.cr3 = kPml4;
    sregs.cr4 = 0x20;    // PAE
    sregs.efer = 0x500;  // LMA LME
    KTSTR_KVM(vcpu_.get(), KVM_SET_SREGS, &sregs);
    setRip(kLongEntry);
  }

  // Runs until the next exit, which is not one of ours to go on from. Nothing if the time is up.
  std::optional<uint32_t> exit() {
    if (ioctl(vcpu_.get(), KVM_RUN, 0) != 0) {
      if (errno == EINTR && expired) return std::nullopt;
      throw errnoError("kvm-failed", "KVM_RUN");
    }
    return run()->exit_reason;
  }
  bool wasOut(std::optional<uint32_t> reason, uint16_t port) const {
    return reason == KVM_EXIT_IO && run()->io.direction == KVM_EXIT_IO_OUT && run()->io.port == port;
  }
  uint32_t loopsLeft() {
    kvm_regs regs{};
    KTSTR_KVM(vcpu_.get(), KVM_GET_REGS, &regs);
    return static_cast<uint32_t>(regs.rcx);
  }
  uint32_t steps() const {
    uint32_t value;
    memcpy(&value, memory_ + kStep, sizeof value);
    return value;
  }

 private:
  static std::byte* makeMemory() {
    void* at = mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw errnoError("map-failed", "map the guest's memory");
    auto* memory = static_cast<std::byte*>(at);
    memcpy(memory + kCode, ktstr_probe, static_cast<size_t>(ktstr_probe_end - ktstr_probe));
    memcpy(memory + kCount, &kLoops, sizeof kLoops);
    const uint64_t tables[] = {(kPml4 + 0x1000) | 3, (kPml4 + 0x2000) | 3, 0x83};  // one 2 MiB page
    for (size_t i = 0; i < std::size(tables); ++i) memcpy(memory + kPml4 + i * 0x1000, &tables[i], 8);
    return memory;
  }
  void copyCpuid(const Fd& kvm) {
    const auto cpuid = std::make_unique<CpuidTable>();
    KTSTR_KVM(kvm.get(), kGetSupportedCpuid, cpuid.get());
    KTSTR_KVM(vcpu_.get(), kSetCpuid2, cpuid.get());
  }
  void setRip(uint64_t rip) {
    kvm_regs regs{};
    regs.rip = rip;
    regs.rflags = 2;
    KTSTR_KVM(vcpu_.get(), KVM_SET_REGS, &regs);
  }
  kvm_run* run() const { return reinterpret_cast<kvm_run*>(shared_.data()); }

  std::byte* memory_;
  Fd vm_, vcpu_;
  Mapping shared_;
};

std::string describe(std::optional<uint32_t> reason) {
  return reason ? text("exit reason ", *reason) : text("no exit within ", kProbeMs, " ms");
}

KvmVerdict judgeLongMode(ProbeVm& vm) {
  vm.enterLongMode();
  auto reason = vm.exit();
  if (!vm.wasOut(reason, 0x11)) {
    return {KvmKind::flatOnly,
            text("64-bit guest: ", describe(reason), " after step ", vm.steps(), " of ", kSteps)};
  }
  const double begin = cpuSeconds();
  reason = vm.exit();
  const double seconds = cpuSeconds() - begin;
  if (reason && !vm.wasOut(reason, 0x12))
    return {KvmKind::flatOnly, "64-bit guest in a loop: " + describe(reason)};
  const double mips = 2.0 * (reason ? kLoops : kLoops - vm.loopsLeft()) / seconds / 1e6;
  const std::string rate =
      text("guest kernel mode runs ", mips, " million instructions per second of CPU time");
  if (mips < kMinMips) return {KvmKind::flatOnly, rate + ", that is, interpreted"};
  return {KvmKind::hardware, rate};
}

KvmVerdict judge(const Fd& kvm) {
  const int version = KTSTR_KVM(kvm.get(), KVM_GET_API_VERSION, 0ul);
  if (version != KVM_API_VERSION) return {KvmKind::unusable, text("KVM API version ", version, ", not 12")};
  {
    ProbeVm vm(kvm);
    vm.enterRealMode();
    const auto out = vm.exit();
    if (!vm.wasOut(out, 0x10)) return {KvmKind::unusable, "real-mode guest: " + describe(out)};
    const auto halt = vm.exit();
    if (halt != KVM_EXIT_HLT)
      return {KvmKind::unusable, "real-mode guest: " + describe(halt) + " instead of a halt"};
  }
  ProbeVm vm(kvm);
  try {
    return judgeLongMode(vm);
  } catch (const Error& e) {
    return {KvmKind::flatOnly, text("64-bit guest: ", e.message())};
  }
}

}  // namespace

const char* kvmKindName(KvmKind kind) {
  switch (kind) {
    case KvmKind::hardware:
      return "hardware";
    case KvmKind::flatOnly:
      return "flat-only";
    case KvmKind::unusable:
      return "unusable";
    case KvmKind::missing:
      return "missing";
    case KvmKind::noPermission:
      return "no-permission";
  }
  return "unknown";
}

KvmProbe::KvmProbe() : kvm_(open("/dev/kvm", O_RDWR | O_CLOEXEC)) {
  if (!kvm_) openErrno_ = errno;
  struct sigaction action {};
  action.sa_handler = expire;  // without SA_RESTART: KVM_RUN returns EINTR
  sigaction(SIGALRM, &action, nullptr);
  const itimerval timer{{0, 20'000}, {0, kProbeMs * 1000}};  // and again, for an exit that comes in between
  setitimer(ITIMER_REAL, &timer, nullptr);
}

KvmVerdict KvmProbe::run() {
  const std::string why = strerror(openErrno_);
  if (openErrno_ == ENOENT || openErrno_ == ENODEV || openErrno_ == ENXIO)
    return {KvmKind::missing, "open /dev/kvm: " + why};
  if (openErrno_ == EACCES || openErrno_ == EPERM) return {KvmKind::noPermission, "open /dev/kvm: " + why};
  if (openErrno_ != 0) return {KvmKind::unusable, "open /dev/kvm: " + why};
  try {
    return judge(kvm_);
  } catch (const Error& e) {
    return {KvmKind::unusable, e.message()};
  }
}

Sandbox kvmProbeSandbox() {
  Sandbox sandbox("ktstr-vmm --probe");
  sandbox.allowBasics().allowHeap().allow("write", {{0, STDOUT_FILENO}}).allow("close");
  sandbox.allow("mmap", {{2, PROT_READ | PROT_WRITE}, {3, MAP_SHARED}});  // kvm_run
  for (const unsigned long number : kIoctls) sandbox.allow("ioctl", {{1, number}});
  return sandbox;
}

}  // namespace ktstr::vmm
