// The QEMU behind a machine: started through the warden, controlled by QMP, and its end explained.
#pragma once

#include <kj/async-io.h>
#include <kj/io.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/machine.capnp.h"
#include "vmm/engine.h"
#include "vmm/tcg/qemu_probe.h"
#include "vmm/tcg/qmp.h"
#include "vmm/tcg/warden.h"

namespace ktstr::vmm {

// All descriptors the engine will ever need, made before the process is locked down. `first` of a pair stays
// with us.
struct EngineChannels {
  std::pair<Fd, Fd> qmp, console, doorbell;
  std::pair<Fd, Fd> standardError;  // a pipe: read end, write end
  Fd firmware;                      // memfd of the ROM's size
};
// Throws Error "socket-failed", "memfd-failed".
EngineChannels makeEngineChannels();

class QemuEngine final : public Engine {
 public:
  static constexpr size_t kLastWords = 8192;  // of QEMU's stderr that are kept

  // With an Error in place of a QEMU, describe() and launch() fail with it.
  QemuEngine(kj::AsyncIoContext& io, std::variant<QemuProgram, Error> qemu, Fd warden,
             EngineChannels channels);

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
  const QemuProgram& qemu() const;  // throws the Error
  // QEMU with `arguments` and these {ours, number in QEMU} besides the channels, paused before its first
  // instruction.
  kj::Promise<void> startQemu(std::vector<std::string> arguments,
                              std::vector<std::pair<int, int>> descriptors, kj::Duration limit);
  kj::Promise<void> askForClocks();
  kj::Promise<void> watch();
  kj::Promise<void> drain();
  kj::Promise<void> readLastWords();
  void conclude();
  void onEvent(const QmpMessage& event);
  kj::Promise<std::string> command(const std::string& name, const std::string& arguments = {});

  kj::AsyncIoContext& io_;
  std::variant<QemuProgram, Error> qemu_;
  EngineChannels channels_;
  int wardenFd_;
  kj::Own<kj::AsyncCapabilityStream> warden_;
  kj::Own<kj::AsyncInputStream> standardError_;
  kj::Maybe<kj::Own<Qmp>> qmp_;
  kj::Promise<void> lastWordsRead_ = kj::READY_NOW;
  WardenReport report_{};
  std::array<kj::AutoCloseFd, kMaxClocks> reportFds_;
  uint32_t vcpus_ = 0;
  std::vector<Fd> clocks_;  // by vCPU; none where its time cannot be told
  kj::PromiseFulfillerPair<void> clocksTold_ = kj::newPromiseAndFulfiller<void>();
  std::optional<WardenReport> final_;  // the warden's last report; absent when it died
  std::string lastWords_;
  char chunk_[1024];
  std::string shutdownReason_;  // of QEMU's SHUTDOWN event
  std::optional<EngineEnd> end_;
  bool started_ = false, stopped_ = false;
  unsigned freezes_ = 0;
  kj::ForkedPromise<void> ended_;
};

}  // namespace ktstr::vmm
