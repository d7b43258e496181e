#include "orchestrator/kvm_probe.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <span>
#include <utility>

#include "guest/boot/memory_plan.h"
#include "guest/boot/page_tables.h"
#include "orchestrator/machine_link.h"
#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json_string.h"
#include "protocol/sparse.h"
#include "protocol/text.h"

extern "C" {
extern const std::byte ktstr_probe_guest[];
extern const std::byte ktstr_probe_guest_end[];
}

namespace ktstr {
namespace {

constexpr uint64_t kRamBytes = memoryUnit;
constexpr uint64_t kGuestGpa = kernelFloor;  // BASE in probe_guest.S

// A VMM, and the machine it runs for us.
class Probe {
 public:
  explicit Probe(kj::AsyncIoContext& io)
      : io_(io),
        silence_(openFile("/dev/null", O_WRONLY)),
        vmm_(*io.lowLevelProvider, toolPath("ktstr-vmm"), observe_, silence_.get()) {}

  ProbeSight run() {
    const ProbeGuest guest(offeredCpuid(await(vmm_.info())));
    await(vmm_.boot(guest.machine(), -1));
    Connection observing(*io_.lowLevelProvider, std::move(observe_), nullptr);
    auto observer = observing.bootstrap().castAs<rpc::Observer>();
    capnp::MallocMessageBuilder message;
    auto exit = message.initRoot<rpc::ExitReason>();
    const auto ending =
        vmm_.wait(exit).then([&] { sight_.end = exit.getDetail().cStr(); }).eagerlyEvaluate(nullptr);
    await(vmm_.start());
    watch(guest, observer);
    return sight_;
  }

 private:
  // The outcome of a call; its failure is an Error.
  template <typename T>
  T await(kj::Promise<T>&& call) {
    auto bounded = io_.provider->getTimer().timeoutAfter(kAnswerNs * kj::NANOSECONDS, kj::mv(call));
    try {
      return bounded.wait(io_.waitScope);
    } catch (const kj::Exception& exception) {
      rethrowAsError(exception);
    }
  }

  // CPU time of the vCPU so far; what was known last of a machine that has just ended.
  uint64_t vcpuNanos(rpc::Observer::Client observer) {
    try {
      const auto answer = await(observer.vcpuTimesRequest().send());
      if (answer.getNanos().size() == 1) nanos_ = answer.getNanos()[0];
    } catch (const Error& error) {
      if (error.name() != "no-machine") throw;
    }
    return nanos_;
  }

  void watch(const ProbeGuest& guest, rpc::Observer::Client observer) {
    const uint64_t late = monotonicNs() + kAnswerNs;
    const auto goOn = [&] {
      io_.provider->getTimer().afterDelay(1 * kj::MILLISECONDS).wait(io_.waitScope);
      return !sight_.end && monotonicNs() < late && vcpuNanos(observer) < kProbeNs;
    };
    while ((sight_.steps = guest.steps()) < ProbeGuest::kSteps) {
      if (!goOn()) return;
    }
    const uint64_t firstNanos = vcpuNanos(observer), firstLoops = guest.loops();
    while (sight_.nanos < kMeasureNs && goOn()) {
      sight_.nanos = nanos_ - firstNanos;
      sight_.loops = guest.loops() - firstLoops;
    }
  }

  kj::AsyncIoContext& io_;
  Fd observe_, silence_;  // a VMM without KVM says so on stderr, too
  MachineLink vmm_;
  ProbeSight sight_;
  uint64_t nanos_ = 0;
};

KvmVerdict verdictOf(const Error& error) {
  if (error.name() == "kvm-missing") return {KvmKind::missing, error.message()};
  if (error.name() == "kvm-no-permission") return {KvmKind::noPermission, error.message()};
  return {KvmKind::unusable, text("ktstr-vmm: ", error.what())};
}

}  // namespace

std::string KvmVerdict::json() const {
  constexpr const char* names[] = {"hardware", "flat-only", "unusable", "missing", "no-permission"};
  return text("{\"kvm\":\"", names[static_cast<size_t>(kind)], "\",\"detail\":", jsonString(detail), "}");
}

ProbeGuest::ProbeGuest(std::vector<CpuidLeaf> cpuid) {
  machine_.ram = makeMemfd("ktstr-probe", kRamBytes);
  writeSparse(machine_.ram.get(), pageTablesGpa, buildPageTables(pageTablesGpa));
  writeSparse(machine_.ram.get(), gdtGpa, buildGdt());
  writeSparse(machine_.ram.get(), kGuestGpa, std::span(ktstr_probe_guest, ktstr_probe_guest_end));
  machine_.ramBytes = kRamBytes;
  machine_.entry = kGuestGpa;
  machine_.cpuid = std::move(cpuid);
  view_ = Mapping(machine_.ram.get(), 0, kRamBytes, PROT_READ);
}

uint64_t ProbeGuest::word(uint64_t gpa) const {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(view_.data() + gpa), __ATOMIC_RELAXED);
}

KvmVerdict judge(const ProbeSight& sight) {
  if (sight.steps < ProbeGuest::kSteps || sight.end) {
    const std::string end =
        sight.end.value_or(text("no end within ", kProbeNs / 1'000'000, " ms of CPU time"));
    return {sight.steps > 0 ? KvmKind::flatOnly : KvmKind::unusable,
            text("64-bit guest: ", end.substr(0, end.find(';')), " after step ", sight.steps, " of ",
                 ProbeGuest::kSteps)};
  }
  if (sight.nanos == 0) return {KvmKind::flatOnly, "the host gave the guest no CPU time to be measured in"};
  const double mips = 2e3 * static_cast<double>(sight.loops) / static_cast<double>(sight.nanos);
  const std::string rate =
      text("guest kernel mode runs ", mips, " million instructions per second of CPU time");
  if (mips < kMinMips) return {KvmKind::flatOnly, rate + ", that is, interpreted"};
  return {KvmKind::hardware, rate};
}

KvmVerdict probeKvm() {
  auto io = kj::setupAsyncIo();
  Probe probe(io);
  try {
    return judge(probe.run());
  } catch (const Error& error) {
    return verdictOf(error);
  }
}

}  // namespace ktstr
