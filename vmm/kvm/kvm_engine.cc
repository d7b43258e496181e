#include "vmm/kvm/kvm_engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "protocol/log.h"
#include "protocol/text.h"
#include "vmm/kvm/sandbox.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

using rpc::ExitKind;

Fd makeEvent() {
  Fd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw errnoError("socket-failed", "make an eventfd");
  return event;
}

kj::Own<kj::UnixEventPort::FdObserver> observe(kj::AsyncIoContext& io, const Fd& line) {
  return kj::heap<kj::UnixEventPort::FdObserver>(io.unixEventPort, line.get(),
                                                 kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE);
}

}  // namespace

KvmChannels makeKvmChannels() {
  KvmChannels channels;
  for (auto* pair : {&channels.console, &channels.doorbell}) {
    *pair = makeSocketPair();
    setNonBlocking(pair->second.get());
  }
  for (Fd* event : {&channels.consoleInterrupt, &channels.doorbellInterrupt, &channels.wake})
    *event = makeEvent();
  return channels;
}

KvmEngine::KvmEngine(kj::AsyncIoContext& io, std::variant<Kvm, Error> kvm, KvmChannels channels,
                     std::function<void()> afterLaunch)
    : io_(io),
      kvm_(std::move(kvm)),
      channels_(std::move(channels)),
      afterLaunch_(std::move(afterLaunch)),
      console_(channels_.console.second.get(), channels_.consoleInterrupt.get()),
      doorbell_(channels_.doorbell.second.get(), channels_.doorbellInterrupt.get()),
      ports_(console_, doorbell_),
      wakeObserver_(io.unixEventPort, channels_.wake.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ),
      consoleObserver_(observe(io, channels_.console.second)),
      doorbellObserver_(observe(io, channels_.doorbell.second)),
      ended_(endedPair_.promise.fork()) {}

const Kvm& KvmEngine::kvm() const {
  if (const Error* error = std::get_if<Error>(&kvm_)) throw *error;
  return std::get<Kvm>(kvm_);
}

void KvmEngine::describe(rpc::VmmInfo::Builder info) const {
  info.setAccelerator("kvm");
  info.setEngine(text("KVM API ", KVM_API_VERSION));
  info.setMaxVcpus(kvm().maxVcpus);
  auto entries = info.initCpuid(static_cast<unsigned>(kvm().cpuid.size()));
  for (unsigned i = 0; i < entries.size(); ++i) {
    const CpuidEntry& entry = kvm().cpuid[i];
    entries[i].setFunction(entry.function);
    entries[i].setIndex(entry.index);
    entries[i].setIndexed((entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0);
    entries[i].setEax(entry.eax);
    entries[i].setEbx(entry.ebx);
    entries[i].setEcx(entry.ecx);
    entries[i].setEdx(entry.edx);
  }
}

kj::Promise<void> KvmEngine::launch(const CheckedMachine& machine, const MachineMemory& memory,
                                    std::byte* ram) {
  kvm();
  vm_.emplace(std::get<Kvm>(kvm_), machine, memory, ram);
  vm_->connect(kConsoleGsi, channels_.consoleInterrupt.get());
  vm_->connect(kDoorbellGsi, channels_.doorbellInterrupt.get());
  const auto routed = machine.wideApicIds() ? std::optional(vm_->fd()) : std::nullopt;
  if (routed) ports_.addIoApic(*routed);
  const std::vector<int> lines{channels_.console.second.get(), channels_.doorbell.second.get()};
  const std::vector<int> events{channels_.consoleInterrupt.get(), channels_.doorbellInterrupt.get(),
                                channels_.wake.get()};
  threads_ =
      std::make_unique<VcpuThreads>(vm_->vcpus(), ports_, channels_.wake.get(), machine.placement,
                                    [=](int vcpu) { vcpuSandbox(vcpu, lines, events, routed).lockDown(); });
  watching_ = watch().eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); });
  auto ready =
      parked(20 * kj::SECONDS, [] { return "engine-failed: the vCPU threads were not ready within 20 s"; });
  return ready.then([this]() -> kj::Promise<void> {
    if (end_ || threads_->haveFinished())  // an Error of a thread's, by its name
      return rpcException((end_ ? *end_ : threads_->end()).detail.c_str());
    afterLaunch_();
    pumping_ =
        kj::joinPromises(
            kj::arr(pump(console_, *consoleObserver_, true), pump(console_, *consoleObserver_, false),
                    pump(doorbell_, *doorbellObserver_, true), pump(doorbell_, *doorbellObserver_, false)))
            .eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); });
    return kj::READY_NOW;
  });
}

kj::Promise<void> KvmEngine::pump(SerialPort& port, kj::UnixEventPort::FdObserver& line, bool reading) {
  auto ready = reading ? line.whenBecomesReadable() : line.whenBecomesWritable();
  port.pump();
  return ready.then([this, &port, &line, reading] { return pump(port, line, reading); });
}

kj::Promise<void> KvmEngine::parked(kj::Duration limit, std::function<std::string()> onLate) {
  auto parked = kj::newPromiseAndFulfiller<void>();
  parkedWaiters_.add(kj::mv(parked.fulfiller));
  auto late = io_.provider->getTimer().afterDelay(limit).then(
      [onLate = std::move(onLate)]() -> kj::Promise<void> { return rpcException(onLate().c_str()); });
  return parked.promise.exclusiveJoin(kj::mv(late));
}

void KvmEngine::tellParked() {
  for (auto& waiter : parkedWaiters_) waiter->fulfill();
  parkedWaiters_.clear();
}

kj::Promise<void> KvmEngine::watch() {
  return wakeObserver_.whenBecomesReadable().then([this]() -> kj::Promise<void> {
    uint64_t count = 0;
    (void)!read(channels_.wake.get(), &count, sizeof count);
    if (threads_->haveFinished()) return endThreads();
    if (threads_->allParked()) tellParked();
    return watch();
  });
}

// A thread may be on its way into the guest when it is told to end, so it is told again.
kj::Promise<void> KvmEngine::endThreads() {
  threads_->endAll();
  if (threads_->allEnded()) {
    conclude();
    return kj::READY_NOW;
  }
  return io_.provider->getTimer().afterDelay(2 * kj::MILLISECONDS).then([this] { return endThreads(); });
}

void KvmEngine::conclude() {
  const EngineEnd end = threads_->end();
  log::info(text("the machine has ended: ", end.detail));
  console_.pump();  // the last words may still wait
  pumping_ = nullptr;
  threads_.reset();
  vm_.reset();
  consoleObserver_ = nullptr;
  doorbellObserver_ = nullptr;
  channels_.console.second.reset();
  channels_.doorbell.second.reset();
  end_ = end;
  tellParked();
  endedPair_.fulfiller->fulfill();
}

kj::Promise<void> KvmEngine::start() {
  if (started_)
    throw Error(ExitCode::infrastructure, "already-started", "the machine has been started before");
  started_ = true;
  if (freezes_ == 0) threads_->go();
  return kj::READY_NOW;
}

kj::Promise<uint32_t> KvmEngine::freeze() {
  const uint64_t begin = monotonicNs();
  const auto micros = [begin] { return static_cast<uint32_t>((monotonicNs() - begin) / 1000); };
  ++freezes_;
  threads_->hold();
  if (threads_->allParked()) return micros();
  const auto onLate = [this] {
    return text("freeze-timeout: vCPUs ", threads_->notParked(), " did not leave the guest within 1 s");
  };
  return parked(1 * kj::SECONDS, onLate).then(micros, [this](kj::Exception&& late) -> uint32_t {
    thaw();  // nobody will who was never told that it is frozen
    kj::throwFatalException(kj::mv(late));
  });
}

kj::Promise<void> KvmEngine::thaw() {
  if (--freezes_ == 0 && started_) threads_->go();
  return kj::READY_NOW;
}

void KvmEngine::stop() {
  if (std::exchange(stopped_, true) || end_) return;
  if (threads_ == nullptr) {
    end_ = EngineEnd{ExitKind::STOPPED, "stopped before it was booted"};
    endedPair_.fulfiller->fulfill();
    return;
  }
  watching_ = endThreads().eagerlyEvaluate([](kj::Exception&& e) { log::error(e.getDescription().cStr()); });
}

VcpuRegisters KvmEngine::registers(uint32_t vcpu) {
  if (freezes_ == 0 || !threads_->allParked()) {
    throw Error(ExitCode::infrastructure, "not-frozen",
                "registers can be read while the machine is frozen only");
  }
  if (const auto registers = threads_->registers(vcpu)) return *registers;
  throw Error(ExitCode::usage, "vcpu-invalid", text("there is no vCPU ", vcpu));
}

std::vector<uint64_t> KvmEngine::vcpuTimes() {
  return threads_->cpuNanos();
}

}  // namespace ktstr::vmm
