#include "monitor/service.h"

#include <capnp/common.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/socket.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t millisecond = 1'000'000;
constexpr uint64_t retryMs = 50, waitingRecordMs = 1000, storeTimeoutMs = 2000;
constexpr unsigned idleShare = 4;  // looking for a kernel takes at most one part in 1 + idleShare of a CPU
#if defined(__SANITIZE_ADDRESS__)
constexpr rlim_t maxHeapBytes = RLIM_INFINITY;  // the sanitizer's shadow counts as well
#else
constexpr rlim_t maxHeapBytes = rlim_t{256} << 20;
#endif

class NothingServer final : public rpc::Fd::Server {};

Fd blockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  Fd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) throw errnoError("signalfd-failed", "make a signalfd");
  return fd;
}

std::string readSignalName(int fd) {
  signalfd_siginfo info{};
  if (read(fd, &info, sizeof info) != sizeof info) return "a signal";
  return info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
}

uint64_t sizeBySeeking(int fd) {
  const off_t end = lseek(fd, 0, SEEK_END);
  return end < 0 ? 0 : static_cast<uint64_t>(end);
}

}  // namespace

Sandbox monitorSandbox() {
  constexpr uint64_t readWrite = PROT_READ | PROT_WRITE;
  Sandbox sandbox("ktstr-monitor");
  // memory: anonymous pages; read-only views of descriptors; looking through RAM; giving pages back
  sandbox.allow("brk").allow("munmap").allow("madvise").allow("lseek").allow("pread64");
  sandbox.allow("mmap", {{2, readWrite}, {3, MAP_ANONYMOUS, MAP_ANONYMOUS}}).allow("mmap", {{2, PROT_READ}});
  // event loop on connected sockets, the timer and the signalfd
  sandbox.allow("epoll_wait")
      .allow("epoll_ctl")
      .allow("read")
      .allow("recvmsg")
      .allow("sendmsg")
      .allow("write")
      .allow("writev");
  sandbox.allow("close").allow("clock_gettime").allow("futex").allow("exit_group");
  // descriptors: keep one that came by message, seal the analysis
  sandbox.allow("fcntl", {{1, F_DUPFD_CLOEXEC}}).allow("fcntl", {{1, F_ADD_SEALS}});
  sandbox.limit(RLIMIT_DATA, maxHeapBytes).limit(RLIMIT_CORE, 0).limit(RLIMIT_NOFILE, 32);
  return sandbox;
}

MonitorService::MonitorService(kj::AsyncIoContext& io, MonitorOptions options)
    : io_(io),
      options_(std::move(options)),
      writer_(STDOUT_FILENO, options_.format),
      signals_(blockSignals()),
      signalObserver_(io.unixEventPort, signals_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ) {
  struct stat output {};
  if (fstat(STDOUT_FILENO, &output) == 0 && S_ISFIFO(output.st_mode))
    reader_.emplace(io.unixEventPort, STDOUT_FILENO, kj::UnixEventPort::FdObserver::OBSERVE_WRITE);
}

void MonitorService::watchForEnd() {
  auto signalled = signalObserver_.whenBecomesReadable().then([this] {
    if (!end_) end_ = End{rpc::EndKind::STOPPED, readSignalName(signals_.get())};
  });
  if (reader_) {  // who waits for a machine writes nothing, and would never find out
    signalled = signalled.exclusiveJoin(reader_->whenWriteDisconnected().then([this] {
      if (!end_) end_ = End{rpc::EndKind::STOPPED, "standard output: nobody reads it"};
    }));
  }
  if (vm_) {
    signalled = signalled.exclusiveJoin(vm_->onDisconnect().then([this] {
      if (!end_) end_ = End{rpc::EndKind::VM_GONE, "the VMM closed the connection"};
    }));
  }
  ended_ = signalled.fork();
}

bool MonitorService::pauseUntil(uint64_t nanos, kj::Promise<void> orUntil) {
  const uint64_t now = monotonicNs();
  const auto delay = static_cast<int64_t>(nanos > now ? nanos - now : 0) * kj::NANOSECONDS;
  io_.provider->getTimer()
      .afterDelay(delay)
      .exclusiveJoin(kj::mv(orUntil))
      .exclusiveJoin(ended_.addBranch())
      .wait(io_.waitScope);
  return !end_;
}

bool MonitorService::open() {
  if (!options_.ramPath.empty()) {
    watchForEnd();
    Fd file = openFile(options_.ramPath, O_RDONLY);
    const uint64_t bytes = fileSize(file.get());
    ram_.emplace(std::move(file), modelRamLayout(bytes));
  } else if (!options_.corePath.empty()) {
    watchForEnd();
    Fd file = openFile(options_.corePath, O_RDONLY);
    auto ranges = vmcoreRanges(file.get());
    ram_.emplace(std::move(file), std::move(ranges));
  } else if (!openVm()) {
    return false;
  }
  if (!options_.gatePath.empty()) {
    gate_ = std::make_unique<Connection>(*io_.lowLevelProvider, connectUnix(options_.gatePath),
                                         kj::heap<NothingServer>());
  }
  if (options_.grantsFd >= 0) {
    if (!vm_) throw Error(ExitCode::usage, "vm-missing", "--grants-fd is for a VM", "give --vm or --vm-fd");
    grants_ = std::make_unique<Connection>(
        *io_.lowLevelProvider, Fd(options_.grantsFd),
        kj::heap<MonitorServer>(asks_, [this](const auto& what) { watch(what); }));
  }
  if (options_.analysisFd >= 0) {
    cache_ = std::make_unique<Connection>(*io_.lowLevelProvider, Fd(options_.analysisFd),
                                          kj::heap<NothingServer>());
    storeFile_ = makeMemfd("ktstr-analysis", 0);
    if (!options_.buildId.empty()) known_ = lookup(options_.buildId);
  }
  return !end_;
}

bool MonitorService::openVm() {
  Fd socket = options_.vmFd >= 0 ? Fd(options_.vmFd) : connectUnix(options_.vmPath);
  vm_ = std::make_unique<Connection>(*io_.lowLevelProvider, std::move(socket), kj::heap<NothingServer>());
  watchForEnd();
  auto observer = vm_->bootstrap().castAs<rpc::Observer>();
  times_.emplace(observer);
  struct Memory {
    Fd fd;
    std::vector<RamRange> ranges;
  };
  auto memory = waitFor<Memory>(observer.memoryRequest().send().then([](auto&& response) {
    std::vector<RamRange> ranges;
    for (const auto region : response.getRegions()) {
      ranges.push_back({region.getGpa(), region.getSize(), region.getOffset()});
    }
    return takeFd(response.getFd()).then([ranges = std::move(ranges)](Fd fd) mutable {
      return Memory{std::move(fd), std::move(ranges)};
    });
  }));
  if (!memory) return false;
  ram_.emplace(std::move(memory->fd), std::move(memory->ranges));
  if (!ram_->sealed()) {
    throw Error(ExitCode::infrastructure, "memory-not-sealed",
                "the VMM's RAM descriptor lacks F_SEAL_FUTURE_WRITE",
                "the VMM must seal guest RAM before it hands it out");
  }
  return true;
}

std::optional<Analysis> MonitorService::lookup(const std::string& buildId) {
  if (!cache_) return std::nullopt;
  try {
    auto request = cache_->bootstrap().castAs<rpc::AnalysisStore>().lookupRequest();
    request.setBuildId(Analysis::storeKey(buildId));
    const auto fd = waitFor<Fd>(request.send().then([](auto&& response) -> kj::Promise<Fd> {
      if (!response.getFound()) return Fd();
      return takeFd(response.getAnalysis());
    }));
    if (!fd || !*fd) return std::nullopt;
    const uint64_t bytes = sizeBySeeking(fd->get());
    if (bytes == 0 || bytes > maxAnalysisBytes) return std::nullopt;
    const uint64_t begin = monotonicNs();
    auto analysis = Analysis::load(Mapping(fd->get(), 0, bytes, PROT_READ));
    loadMicros_ = static_cast<uint32_t>((monotonicNs() - begin) / 1000);
    return analysis;
  } catch (const Error& error) {
    log::warn(text("no stored analysis: ", error.what()));
    return std::nullopt;
  }
}

void MonitorService::store(const Attachment& attachment) {
  // What a guest says of itself is not believed: its analysis is kept of the kernel that it was told to be.
  const auto& buildId = attachment.analysis->facts().buildId;
  if (!cache_ || attachment.cached || buildId.empty() || !storeFile_) return;
  if (buildId != options_.buildId) {
    log::warn(text("analysis not stored: the guest says that its build id is ", buildId, ", expected was ",
                   options_.buildId.empty() ? "none" : options_.buildId));
    return;
  }
  try {
    attachment.analysis->write(storeFile_.get());
    if (fcntl(storeFile_.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      throw errnoError("seal-failed", "seal the analysis");
    }
  } catch (const Error& error) {
    log::warn(text("analysis not stored: ", error.what()));
    return;
  }
  auto file = giveFd(std::move(storeFile_));
  auto request = cache_->bootstrap().castAs<rpc::AnalysisStore>().storeRequest();
  request.setBuildId(Analysis::storeKey(attachment.analysis->facts().buildId));
  request.setAnalysis(file.castAs<rpc::Fd>());
  storing_ =
      request.send().ignoreResult().attach(kj::mv(file)).eagerlyEvaluate([](kj::Exception&& exception) {
        log::warn(text("analysis not stored: ", exception.getDescription().cStr()));
      });
}

std::optional<Attachment> MonitorService::attach(std::string& reason, uint64_t deadline) {
  Attacher attacher(*ram_, std::move(known_), [this](const std::string& buildId) { return lookup(buildId); });
  const uint64_t begin = monotonicNs();
  uint64_t nextRecord = begin;
  reason = "not looked yet";
  while (!end_ && (deadline == 0 || monotonicNs() < deadline)) {
    const uint64_t tryBegin = monotonicNs();
    if (auto attachment = attacher.attempt()) {
      const bool loadedBefore = attachment->cached && attachment->symbolsMicros == 0;
      if (loadedBefore) attachment->symbolsMicros = loadMicros_, attachment->totalMicros += loadMicros_;
      return attachment;
    }
    const uint64_t now = monotonicNs();
    reason = attacher.reason();
    if (deadline == 0 && now >= nextRecord) {
      writeWaiting(reason, (now - begin) / millisecond);
      nextRecord = now + waitingRecordMs * millisecond;
    }
    const uint64_t next = now + std::max(retryMs * millisecond, (now - tryBegin) * idleShare);
    if (!end_) pauseAndAnswer(next, nullptr, reason);
  }
  if (end_) end_->detail += "; last: " + reason;
  return std::nullopt;
}

void MonitorService::writeWaiting(const std::string& reason, uint64_t elapsedMs) {
  capnp::MallocMessageBuilder message;
  auto waiting = message.initRoot<rpc::MonitorRecord>().initWaiting();
  waiting.setReason(reason);
  waiting.setElapsedMs(static_cast<uint32_t>(elapsedMs));
  put(message.getRoot<rpc::MonitorRecord>());
}

void MonitorService::writeAttached(const Attachment& attachment, const Sampler& sampler) {
  const auto& facts = attachment.analysis->facts();
  const auto& place = attachment.kernel->place();
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorRecord>().initAttached();
  out.setRelease(facts.release);
  out.setBuildId(facts.buildId);
  out.setPhysBase(place.physBase);
  out.setVirtualSlideBytes(place.slide);
  out.setPagingLevels(static_cast<uint8_t>(place.tables.levels));
  out.setPageOffset(attachment.kernel->pageOffset());
  out.setCpus(static_cast<uint32_t>(sampler.cpuCount()));
  out.setSymbols(static_cast<uint32_t>(attachment.analysis->symbols().size()));
  out.setBtfBytes(static_cast<uint32_t>(facts.btfBytes));
  out.setCached(attachment.cached);
  out.setFindMicros(attachment.findMicros);
  out.setSymbolsMicros(attachment.symbolsMicros);
  out.setBtfMicros(attachment.btfMicros);
  out.setTotalMicros(attachment.totalMicros);
  const auto fill = [](auto list, const std::vector<std::string>& texts) {
    for (unsigned i = 0; i < texts.size(); ++i) list.set(i, texts[i]);
  };
  const auto& names = sampler.scxEventNames();
  fill(out.initScxEventNames(static_cast<unsigned>(names.size())), names);
  const auto& stats = sampler.domainStatNames();
  fill(out.initDomainStatNames(static_cast<unsigned>(stats.size())), stats);
  const auto absent = sampler.absent();
  fill(out.initAbsent(static_cast<unsigned>(absent.size())), absent);
  put(message.getRoot<rpc::MonitorRecord>());
}

void MonitorService::sampleLoop(const Attachment& attachment) {
  Sampler sampler(attachment);
  watched_ = &attachment;
  writeAttached(attachment, sampler);
  store(attachment);
  const auto putRecord = [this](rpc::MonitorRecord::Reader record) { put(record); };
  if (!options_.mapWrites.empty()) writes_.emplace_back(WriteAsk{{}, options_.mapWrites}, putRecord);
  std::optional<WatchdogGate> watchdog;
  if (options_.watchdogMs != 0) {
    watchdog.emplace(attachment, options_.watchdogMs, vm_->bootstrap().castAs<rpc::Observer>(),
                     grants_->bootstrap().castAs<rpc::WriteGrants>(), putRecord);
  }
  if (grants_) errors_.emplace(*attachment.kernel, attachment.analysis->layout());
  const uint64_t period = options_.periodMs * millisecond;
  uint64_t next = monotonicNs();
  while (!end_) {
    const uint64_t began = monotonicNs();
    const bool enabled = writeSample(sampler, samples_, next + period);
    tellWatches();
    attemptWrites(attachment, enabled);
    if (enabled && watchdog && !end_) watchdog->attempt(io_.waitScope);
    if (options_.count != 0 && samples_ == options_.count && !end_)
      end_ = End{rpc::EndKind::SAMPLE_LIMIT, ""};
    // One that is late by a period or more moves the following ones: none is made up for, and none comes at
    // once, which would count as another period in which nothing happened.
    next = (began < next + period ? next : began) + period;
    if (!end_) pauseAndAnswer(next, &attachment);
  }
  for (auto& write : writes_) write.giveUp();
  watched_ = nullptr;
}

bool MonitorService::writeSample(Sampler& sampler, uint64_t sequence, uint64_t due) {
  capnp::MallocMessageBuilder message;
  auto sample = message.initRoot<rpc::MonitorRecord>().initSample();
  if (times_) times_->ask();
  const uint64_t begin = monotonicNs();
  sampler.sample(sample);
  const auto cost = static_cast<uint32_t>(monotonicNs() - begin);
  sample.setSequence(sequence);
  sample.setAtNs(begin);
  sample.setCostNs(cost);
  ++samples_;
  costSum_ += cost;
  maxCost_ = std::max(maxCost_, cost);
  bool torn = false;
  for (const auto cpu : sample.asReader().getCpus()) torn |= cpu.getTorn();
  if (torn) ++tornSamples_;
  if (times_ && !end_) {
    pauseUntil(due, times_->answered());
    times_->addTo(sample);
  }
  put(message.getRoot<rpc::MonitorRecord>());
  return sample.getScx().getState() == rpc::ScxState::ENABLED;
}

void MonitorService::put(rpc::MonitorRecord::Reader record) {
  if (writer_.write(record) || end_) return;
  end_ = End{rpc::EndKind::STOPPED, text("standard output: ", writer_.failure())};
}

void MonitorService::finish(rpc::EndKind kind, std::string detail) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorRecord>().initEnded();
  out.setKind(kind);
  out.setSamples(samples_);
  out.setTornSamples(tornSamples_);
  out.setMaxCostNs(maxCost_);
  out.setMeanCostNs(samples_ ? static_cast<uint32_t>(costSum_ / samples_) : 0);
  out.setDetail(detail);
  put(message.getRoot<rpc::MonitorRecord>());
}

ExitCode MonitorService::run() {
  std::string reason;
  const auto attachment = ram_ ? attach(reason, 0) : std::nullopt;
  if (attachment) sampleLoop(*attachment);
  KJ_IF_MAYBE (storing, storing_) {
    auto timeout = io_.provider->getTimer().afterDelay(storeTimeoutMs * kj::MILLISECONDS);
    storing->exclusiveJoin(kj::mv(timeout)).wait(io_.waitScope);
  }
  finish(attachment ? end_->kind : rpc::EndKind::NEVER_FOUND, end_->detail);
  return attachment ? ExitCode::pass : ExitCode::inconclusive;
}

}  // namespace ktstr
