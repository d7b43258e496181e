#include "vmm/kvm/probe.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <memory>
#include <optional>

#include "protocol/error.h"
#include "protocol/text.h"
#include "vmm/kvm/sandbox.h"

extern "C" {
extern const std::byte ktstr_probe[];
extern const std::byte ktstr_probe_end[];
}

namespace ktstr::vmm {
namespace {

constexpr size_t kMemory = size_t{2} << 20;
constexpr uint64_t kCode = 0x1000, kEntry = 0x1010, kStep = 0x800, kCount = 0x808, kPml4 = 0x4000;
constexpr uint32_t kSteps = 6;           // in flat/probe.S
constexpr uint32_t kLoops = 20'000'000;  // of two instructions

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

CheckedMachine probeMachine(const Kvm& kvm) {
  CheckedMachine machine{};
  machine.vcpus = 1;
  machine.regions = {{rpc::RegionKind::RAM, 0, kMemory, 0, 0}};
  machine.apicIds = {0};
  machine.boot = {kEntry, 0, kCode, kPml4, 0, 0};
  machine.cpuid = kvm.cpuid;
  return machine;
}

// A VM with one vCPU and the guest of flat/probe.S in its memory.
class ProbeVm {
 public:
  explicit ProbeVm(Kvm& kvm) : memory_(makeMemory()), vm_(kvm, probeMachine(kvm), {}, memory_.get()) {
    running = &run();
  }
  ~ProbeVm() { running = nullptr; }
  ProbeVm(const ProbeVm&) = delete;
  ProbeVm& operator=(const ProbeVm&) = delete;

  // Runs until the next exit, which is not one of ours to go on from. Nothing if the time is up.
  std::optional<uint32_t> exit() {
    if (ioctl(vcpu().fd(), KVM_RUN, 0) == 0) return run().exit_reason;
    if (errno == EINTR && expired) return std::nullopt;
    throw errnoError("kvm-failed", "KVM_RUN");
  }
  bool wasOut(std::optional<uint32_t> reason, uint16_t port) {
    return reason == KVM_EXIT_IO && run().io.direction == KVM_EXIT_IO_OUT && run().io.port == port;
  }
  uint32_t loopsLeft() {
    kvm_regs regs{};
    KTSTR_KVM(vcpu().fd(), KVM_GET_REGS, &regs);
    return static_cast<uint32_t>(regs.rcx);
  }
  uint32_t steps() const {
    uint32_t value;
    memcpy(&value, memory_.get() + kStep, sizeof value);
    return value;
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { free(memory); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;

  static Memory makeMemory() {
    Memory memory(static_cast<std::byte*>(aligned_alloc(kPage, kMemory)));
    if (!memory) throw errnoError("map-failed", "take the guest's memory");
    memset(memory.get(), 0, kMemory);
    memcpy(memory.get() + kCode, ktstr_probe, static_cast<size_t>(ktstr_probe_end - ktstr_probe));
    memcpy(memory.get() + kCount, &kLoops, sizeof kLoops);
    const uint64_t tables[] = {(kPml4 + 0x1000) | 3, (kPml4 + 0x2000) | 3, 0x83};  // one 2 MiB page
    for (size_t i = 0; i < std::size(tables); ++i) memcpy(memory.get() + kPml4 + i * 0x1000, &tables[i], 8);
    return memory;
  }
  Vcpu& vcpu() { return vm_.vcpus().front(); }
  kvm_run& run() { return vcpu().run(); }

  Memory memory_;
  Vm vm_;
};

std::string describe(std::optional<uint32_t> reason) {
  return reason ? text("exit reason ", *reason) : text("no exit within ", kProbeMs, " ms");
}

KvmVerdict judge(ProbeVm& vm) {
  auto reason = vm.exit();
  if (!vm.wasOut(reason, 0x11)) {
    return {vm.steps() > 0 ? KvmKind::flatOnly : KvmKind::unusable,
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

KvmKind kindOf(const Error& error) {
  if (error.name() == "kvm-missing") return KvmKind::missing;
  return error.name() == "kvm-no-permission" ? KvmKind::noPermission : KvmKind::unusable;
}

}  // namespace

const char* kvmKindName(KvmKind kind) {
  constexpr const char* names[] = {"hardware", "flat-only", "unusable", "missing", "no-permission"};
  return names[static_cast<size_t>(kind)];
}

KvmProbe::KvmProbe() {
  try {
    kvm_ = Kvm::open();
  } catch (const Error& error) {
    verdict_ = {kindOf(error), error.message()};
  }
  struct sigaction action {};
  action.sa_handler = expire;  // without SA_RESTART: KVM_RUN returns EINTR
  sigaction(SIGALRM, &action, nullptr);
  const itimerval timer{{0, 20'000}, {0, kProbeMs * 1000}};  // and again, for an exit that comes in between
  setitimer(ITIMER_REAL, &timer, nullptr);
}

KvmVerdict KvmProbe::run() {
  if (verdict_) return *verdict_;
  try {
    ProbeVm vm(*kvm_);
    return judge(vm);
  } catch (const Error& error) {
    return {KvmKind::unusable, error.message()};
  }
}

Sandbox kvmProbeSandbox() {
  Sandbox sandbox("ktstr-vmm --probe");
  sandbox.allowBasics().allowHeap().allow("write", {{0, STDOUT_FILENO}}).allow("close");
  allowKvmSetUp(sandbox);
  return sandbox;
}

}  // namespace ktstr::vmm
