#include "vmm/tcg/qemu_engine.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/process.h"
#include "protocol/text.h"
#include "vmm/rpc_error.h"
#include "vmm/tcg/firmware.h"
#include "vmm/tcg/qemu_command.h"
#include "vmm/tcg/vcpu_clocks.h"

namespace ktstr::vmm {
namespace {

using rpc::ExitKind;

constexpr auto kDrainTime = 1 * kj::SECONDS;
constexpr unsigned kWrapFlags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                                kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                                kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;

// QEMU itself takes 0.1 s, but 7 s for 128 vCPUs on a machine ten times overcommitted, and more than in
// proportion.
kj::Duration launchLimit(uint32_t vcpus) {
  return (20 + vcpus / 2) * kj::SECONDS;
}

Error unsupported(const char* what) {
  return Error(ExitCode::infrastructure, "not-supported-by-tcg",
               text("QEMU does not tell ", what, " under TCG"));
}

void makeNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) throw errnoError("socket-failed", "F_SETFL O_NONBLOCK");
}

}  // namespace

EngineChannels makeEngineChannels() {
  EngineChannels channels;
  channels.qmp = makeSocketPair();
  channels.console = makeSocketPair();
  channels.doorbell = makeSocketPair();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("socket-failed", "make a pipe");
  channels.standardError = {Fd(ends[0]), Fd(ends[1])};
  channels.firmware = makeMemfd("ktstr-firmware", kRomSize);
  makeNonBlocking(channels.qmp.first.get());
  makeNonBlocking(channels.standardError.first.get());
  return channels;
}

QemuEngine::QemuEngine(kj::AsyncIoContext& io, std::variant<QemuProgram, Error> qemu, Fd warden,
                       EngineChannels channels)
    : io_(io),
      qemu_(std::move(qemu)),
      channels_(std::move(channels)),
      wardenFd_(warden.get()),
      warden_(io.lowLevelProvider->wrapUnixSocketFd(warden.release(), kWrapFlags)),
      standardError_(io.lowLevelProvider->wrapInputFd(channels_.standardError.first.release(), kWrapFlags)),
      ended_(nullptr) {
  ended_ = watch()
               .catch_([](kj::Exception&&) {})  // as if the warden had closed the connection
               .then([this] { return drain(); })
               .then([this] { conclude(); })
               .fork();
}

const QemuProgram& QemuEngine::qemu() const {
  if (const Error* error = std::get_if<Error>(&qemu_)) throw *error;
  return std::get<QemuProgram>(qemu_);
}

void QemuEngine::describe(rpc::VmmInfo::Builder info) const {
  info.setAccelerator("tcg");
  info.setEngine(
      text("QEMU ", qemu().version, ", thread=multi up to ", mostTcgThreads(qemu().hostCpus), " vCPUs"));
  info.setMaxVcpus(kMaxVcpus);
}

kj::Promise<void> QemuEngine::launch(const CheckedMachine& machine, const MachineMemory& memory, std::byte*) {
  qemu();
  const Placement& place = machine.placement;
  if (!place.cpus.empty() || place.priority != 0 || place.keepIdle) {
    throw Error(ExitCode::usage, "not-supported-by-tcg", "QEMU's vCPU threads cannot be placed under TCG",
                "run without performance mode");
  }
  vcpus_ = machine.vcpus;
  std::vector<std::string> arguments = qemuArguments(machine, mostTcgThreads(qemu().hostCpus));
  std::vector<std::pair<int, int>> descriptors{{memory.ram.get(), qemufd::ram}};
  if (memory.base) descriptors.emplace_back(memory.base.get(), qemufd::base);
  if (memory.mailbox) descriptors.emplace_back(memory.mailbox.get(), qemufd::mailbox);
  writeRom(channels_.firmware.get(), machine.boot);
  return startQemu(std::move(arguments), std::move(descriptors), launchLimit(machine.vcpus));
}

kj::Promise<void> QemuEngine::startQemu(std::vector<std::string> arguments,
                                        std::vector<std::pair<int, int>> descriptors, kj::Duration limit) {
  descriptors.insert(descriptors.end(), {{channels_.firmware.get(), qemufd::firmware},
                                         {channels_.qmp.second.get(), qemufd::qmp},
                                         {channels_.console.second.get(), qemufd::console},
                                         {channels_.doorbell.second.get(), qemufd::doorbell}});
  sendLaunch(wardenFd_, {std::move(arguments), std::move(descriptors), channels_.standardError.second.get()});
  for (Fd* theirs : {&channels_.qmp.second, &channels_.console.second, &channels_.doorbell.second,
                     &channels_.standardError.second, &channels_.firmware}) {
    theirs->reset();
  }
  auto connection = io_.lowLevelProvider->wrapSocketFd(channels_.qmp.first.release(), kWrapFlags);
  auto& qmp = *qmp_.emplace(kj::heap<Qmp>(kj::mv(connection), [this](auto& event) { onEvent(event); }));
  lastWordsRead_ = readLastWords().eagerlyEvaluate([](kj::Exception&&) {});
  // The greeting can precede QEMU's set-up; the main loop that answers a command cannot.
  auto ready = qmp.handshake()
                   .then([&qmp] { return qmp.execute("query-status"); })
                   .then([](std::string status) -> kj::Promise<void> {
                     if (status == "prelaunch") return kj::READY_NOW;
                     return rpcException(text("QEMU is ", status, " before its start").c_str());
                   })
                   .then([this] { return askForClocks(); });
  auto late = io_.provider->getTimer().afterDelay(limit).then([limit]() -> kj::Promise<void> {
    return rpcException(text("QEMU was not ready within ", limit / kj::SECONDS, " s").c_str());
  });
  return ready.exclusiveJoin(kj::mv(late)).catch_([this](kj::Exception&& exception) {
    warden_->shutdownWrite();
    return ended().then([this, exception = kj::mv(exception)] {
      throw Error(ExitCode::infrastructure, "engine-failed",
                  text(exception.getDescription().cStr(), "; ", end_->detail));
    });
  });
}

kj::Promise<void> QemuEngine::askForClocks() {
  return warden_->write(&kAskForClocks, 1).then([this] { return kj::mv(clocksTold_.promise); });
}

kj::Promise<std::string> QemuEngine::command(const std::string& name, const std::string& arguments) {
  KJ_IF_MAYBE (qmp, qmp_) return (*qmp)->execute(name, arguments);
  return rpcException("engine-gone: QEMU was never started");
}

kj::Promise<void> QemuEngine::start() {
  if (started_)
    throw Error(ExitCode::infrastructure, "already-started", "the machine has been started before");
  started_ = true;
  if (freezes_ > 0) return kj::READY_NOW;
  return command("cont").ignoreResult();
}

kj::Promise<uint32_t> QemuEngine::freeze() {
  const uint64_t begin = monotonicNs();
  ++freezes_;
  // Commands are answered in order and stopping twice does nothing, so this waits for an earlier stop as
  // well.
  return command("stop").then(
      [begin](std::string) { return static_cast<uint32_t>((monotonicNs() - begin) / 1000); });
}

kj::Promise<void> QemuEngine::thaw() {
  if (--freezes_ > 0 || !started_) return kj::READY_NOW;
  return command("cont").ignoreResult();
}

void QemuEngine::stop() {
  if (stopped_ || end_) return;
  stopped_ = true;
  warden_->shutdownWrite();
}

VcpuRegisters QemuEngine::registers(uint32_t) {
  throw unsupported("registers");
}

std::vector<uint64_t> QemuEngine::vcpuTimes() {
  if (clocks_.empty() || clocks_.size() != vcpus_) throw unsupported("vcpuTimes");
  std::vector<uint64_t> times;
  for (const Fd& clock : clocks_) times.push_back(readVcpuClock(clock.get()));
  return times;
}

kj::Promise<void> QemuEngine::watch() {
  return warden_
      ->tryReadWithFds(&report_, sizeof report_, sizeof report_, reportFds_.data(), reportFds_.size())
      .then([this](kj::AsyncCapabilityStream::ReadResult got) -> kj::Promise<void> {
        if (got.byteCount < sizeof report_) return kj::READY_NOW;
        switch (report_.kind) {
          case WardenReport::started:
            log::info(text("QEMU runs as process ", report_.value));
            return watch();
          case WardenReport::clocks:
            for (size_t i = 0; i < got.capCount; ++i) clocks_.emplace_back(reportFds_[i].release());
            clocksTold_.fulfiller->fulfill();
            return watch();
          default:
            final_ = report_;
            return kj::READY_NOW;
        }
      });
}

// QEMU's last words and events may arrive after the news of its death.
kj::Promise<void> QemuEngine::drain() {
  auto closed = kj::mv(lastWordsRead_);
  KJ_IF_MAYBE (qmp, qmp_) closed = closed.then([&client = **qmp] { return client.closed(); });
  return io_.provider->getTimer().timeoutAfter(kDrainTime, kj::mv(closed)).catch_([](kj::Exception&&) {});
}

kj::Promise<void> QemuEngine::readLastWords() {
  return standardError_->tryRead(chunk_, 1, sizeof chunk_).then([this](size_t got) -> kj::Promise<void> {
    if (got == 0) return kj::READY_NOW;
    lastWords_.append(chunk_, got);
    if (lastWords_.size() > kLastWords) lastWords_.erase(0, lastWords_.size() - kLastWords);
    return readLastWords();
  });
}

void QemuEngine::onEvent(const QmpMessage& event) {
  log::debug(text("QEMU event ", event.name, " ", event.reason));
  if (event.name == "SHUTDOWN") shutdownReason_ = event.reason;
}

void QemuEngine::conclude() {
  EngineEnd end;
  if (!final_) {
    end = {ExitKind::ENGINE_KILLED, "the warden process was killed, and QEMU with it"};
  } else if (final_->kind == WardenReport::failed) {
    end.detail = final_->text;
  } else {
    const int status = final_->value;
    end.detail = text("QEMU: ", describeWaitStatus(status));
    if (WIFSIGNALED(status)) end.kind = ExitKind::ENGINE_KILLED;
    if (!shutdownReason_.empty()) end.detail += ", reason " + shutdownReason_;
    if (status == 0 && shutdownReason_ == "guest-reset") end.kind = ExitKind::RESET;
    if (status == 0 && shutdownReason_ == "guest-shutdown") end.kind = ExitKind::POWER_OFF;
    if (status == 0 && shutdownReason_ == "host-signal") end.kind = ExitKind::ENGINE_KILLED;
  }
  if (stopped_) end.kind = ExitKind::STOPPED;
  const bool failed = end.kind == ExitKind::ENGINE_FAILED || end.kind == ExitKind::ENGINE_KILLED;
  if (failed && !lastWords_.empty()) end.detail += "; its last words: " + lastWords_;
  log::info(text("the machine has ended: ", end.detail));
  end_ = end;
}

}  // namespace ktstr::vmm
