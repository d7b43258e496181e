// The QEMU behind a machine: started through the warden, controlled by QMP, and its end explained.
#pragma once

#include <kj/async-io.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/fd.h"
#include "protocol/machine.capnp.h"
#include "vmm/qmp.h"
#include "vmm/warden.h"

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

struct EngineEnd {
  rpc::ExitKind kind = rpc::ExitKind::ENGINE_FAILED;
  std::string detail;
};

class Engine {
 public:
  static constexpr size_t kLastWords = 8192;  // of QEMU's stderr that are kept

  Engine(kj::AsyncIoContext& io, Fd warden, EngineChannels channels);

  // Starts QEMU with `arguments` and these {ours, number in QEMU} besides the channels. When it resolves QEMU
  // has mapped its memory and is paused before its first instruction. Once; fails with "engine-failed" and
  // QEMU's last words.
  kj::Promise<void> launch(std::vector<std::string> arguments, std::vector<std::pair<int, int>> descriptors,
                           kj::Duration limit);
  int firmware() const { return channels_.firmware.get(); }

  kj::Promise<void> start();       // once, else "already-started"
  kj::Promise<uint32_t> freeze();  // counted; resolves to the microseconds it took
  kj::Promise<void> thaw();        // one per freeze, else "not-frozen"
  kj::Promise<void> reset();       // hard reset; runs on if it ran
  void stop();                     // any number of times; ended() follows

  // Resolves when QEMU and the warden's watch over it have ended.
  kj::Promise<void> ended() { return ended_.addBranch(); }
  bool hasEnded() const { return end_.has_value(); }
  const EngineEnd& end() const { return *end_; }  // once ended

  // The host end of a serial port, once each; "stream-taken" after that.
  Fd takeConsole() { return takeStream(channels_.console.first, "console"); }
  Fd takeDoorbell() { return takeStream(channels_.doorbell.first, "doorbell"); }

 private:
  static Fd takeStream(Fd& stream, const char* name);
  kj::Promise<void> watch();
  kj::Promise<void> drain();
  kj::Promise<void> readLastWords();
  void conclude();
  void onEvent(const QmpMessage& event);
  kj::Promise<std::string> command(const std::string& name, const std::string& arguments = {});

  kj::AsyncIoContext& io_;
  EngineChannels channels_;
  int wardenFd_;
  kj::Own<kj::AsyncIoStream> warden_;
  kj::Own<kj::AsyncInputStream> standardError_;
  kj::Maybe<kj::Own<Qmp>> qmp_;
  kj::Promise<void> lastWordsRead_ = kj::READY_NOW;
  WardenReport report_{};
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
