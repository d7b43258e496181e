// A machine on KVM: its VM, its threads, its serial lines, and its end explained.
#pragma once

#include <kj/async-io.h>
#include <kj/async-unix.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "vmm/engine.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/ports.h"
#include "vmm/kvm/vcpu_threads.h"

namespace ktstr::vmm {

// All descriptors the engine will ever need besides KVM's, made before the process is locked down. `first` of
// a pair is the host's end.
struct KvmChannels {
  std::pair<Fd, Fd> console, doorbell;
  Fd consoleInterrupt, doorbellInterrupt, wake;  // eventfds
};
// Throws Error "socket-failed".
KvmChannels makeKvmChannels();

class KvmEngine final : public Engine {
 public:
  // `afterLaunch` locks the process further down once nothing is left to be set up.
  KvmEngine(kj::AsyncIoContext& io, std::variant<Kvm, Error> kvm, KvmChannels channels,
            std::function<void()> afterLaunch);

  void describe(rpc::VmmInfo::Builder info) const override;
  kj::Promise<void> launch(const CheckedMachine& machine, const MachineMemory& memory,
                           std::byte* ram) override;
  kj::Promise<void> start() override;
  kj::Promise<uint32_t> freeze() override;
  kj::Promise<void> thaw() override;
  void stop() override;
  VcpuRegisters registers(uint32_t vcpu) override;
  std::vector<uint64_t> vcpuTimes() override;
  kj::Promise<void> ended() override { return ended_.addBranch(); }
  bool hasEnded() const override { return end_.has_value(); }
  const EngineEnd& end() const override { return *end_; }
  Fd takeConsole() override { return takeStream(channels_.console.first, "console"); }
  Fd takeDoorbell() override { return takeStream(channels_.doorbell.first, "doorbell"); }

 private:
  const Kvm& kvm() const;  // throws the Error
  // Resolves when all are parked; fails with what `onLate` says after `limit`.
  kj::Promise<void> parked(kj::Duration limit, std::function<std::string()> onLate);
  void tellParked();
  kj::Promise<void> watch();
  kj::Promise<void> pump(SerialPort& port, kj::UnixEventPort::FdObserver& line, bool reading);
  kj::Promise<void> endThreads();
  void conclude();

  kj::AsyncIoContext& io_;
  std::variant<Kvm, Error> kvm_;
  KvmChannels channels_;
  std::function<void()> afterLaunch_;
  SerialPort console_, doorbell_;
  Ports ports_;
  std::optional<Vm> vm_;
  std::unique_ptr<VcpuThreads> threads_;
  kj::UnixEventPort::FdObserver wakeObserver_;
  kj::Own<kj::UnixEventPort::FdObserver> consoleObserver_,
      doorbellObserver_;  // gone before what they observe
  kj::Vector<kj::Own<kj::PromiseFulfiller<void>>> parkedWaiters_;
  bool started_ = false, stopped_ = false;
  unsigned freezes_ = 0;
  std::optional<EngineEnd> end_;
  kj::PromiseFulfillerPair<void> endedPair_ = kj::newPromiseAndFulfiller<void>();
  kj::ForkedPromise<void> ended_;
  kj::Promise<void> watching_ = nullptr, pumping_ = nullptr;
};

}  // namespace ktstr::vmm
