// The monitor as a process: gets the RAM from a VMM, attaches, samples, writes records.
#pragma once

#include <capnp/message.h>
#include <kj/async-io.h>

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "monitor/asks.h"
#include "monitor/attach.h"
#include "monitor/core_output.h"
#include "monitor/error_watch.h"
#include "monitor/inspect.h"
#include "monitor/map_write_gate.h"
#include "monitor/pending_writes.h"
#include "monitor/record_writer.h"
#include "monitor/sampler.h"
#include "monitor/vcpu_times.h"
#include "monitor/vmcore.h"
#include "monitor/watch.h"
#include "monitor/watchdog_gate.h"
#include "protocol/cache.capnp.h"
#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/machine.capnp.h"
#include "protocol/sandbox.h"
#include "protocol/transport.h"

namespace ktstr {

struct MonitorOptions {
  std::string
      vmPath;  // exactly one of vmPath, vmFd, ramPath, corePath: an observe socket, a connection to one,
  int vmFd = -1;
  std::string ramPath;   // RAM in the machine model's layout,
  std::string corePath;  // or an ELF vmcore
  int analysisFd = -1;   // connection to an AnalysisStore; -1 = none
  std::string buildId;   // of the kernel that is expected, hex; empty = unknown
  uint32_t periodMs = 100;
  uint64_t count = 0;  // samples; 0 = no limit
  RecordFormat format = RecordFormat::jsonl;
  std::string gatePath;                // gate socket for writeMap(); empty: none
  std::vector<std::string> mapWrites;  // that run() makes, MAP:PLACE=VALUE; with grantsFd
  int grantsFd = -1;                   // connection to WriteGrants, on which we serve Monitor; -1 = none
  uint64_t watchdogMs = 0;     // that every scheduler gets from run(); 0 = its own; with grantsFd and a VMM
  bool freeze = false;         // inspect() looks at a guest that stands still; not of a file
  uint32_t attachMs = 10'000;  // inspect(), writeMap(), writeCore() and watchAll() give up after that
};

// What the process may do once everything is open: at most 18 syscalls, among them no open, socket, ioctl or
// execve, and no writable mapping of a file.
Sandbox monitorSandbox();

class MonitorService {
 public:
  // SIGTERM, SIGINT and SIGPIPE are taken over. Records go to descriptor 1.
  MonitorService(kj::AsyncIoContext& io, MonitorOptions options);

  // Connects, waits for the machine's memory, maps it, fetches a stored analysis: everything that needs
  // rights which the sandbox takes away. False if the end came first; run() then only says so. Throws Error
  // "connect-failed", "memory-not-sealed", "ram-invalid", "map-failed", ...
  bool open();

  // Attaches, samples until the end, writes the last record.
  ExitCode run();

  // Instead of run(): attaches, looks once, writes the records. What could not be seen goes to standard error
  // and makes the exit code inconclusive. Throws Error "kernel-not-found" and what inspect() throws.
  ExitCode inspect(const Inspection& what);

  // inspect() of "dump" and "dsqs": one JSON line of the dump, or of each DSQ; or text. The guest is frozen
  // meanwhile.
  ExitCode dumpOnce(const Inspection& what);

  // Instead of run(): attaches, and writes an ELF vmcore of the guest, which stands still meanwhile. Throws
  // Error "kernel-not-found", "freeze-lost", "write-failed", "disk-full", "core-incomplete" (the end came
  // first). `progress`: standard error is a terminal.
  ExitCode writeCore(CoreOutput& output, bool progress);

  // Writes through the gate while the guest stands still, reads back, writes one record: map, address, and
  // the bytes before, wrote and after. Inconclusive if something else is read back. Throws Error "vm-missing"
  // and what planMapWrites() and writeMapsFrozen() throw.
  ExitCode writeMap(const MapWrite& write);

  // Instead of run(): attaches, and looks at values each period until the end; each change is a record.
  // MonitorOptions::count is of changes. Throws Error "kernel-not-found" and as Watches::add().
  ExitCode watchAll(const std::vector<std::string>& expressions);

 private:
  struct End {
    rpc::EndKind kind;
    std::string detail;
  };
  bool openVm();
  void watchForEnd();
  // False: the end came first.
  bool pauseUntil(uint64_t monotonicNanos, kj::Promise<void> orUntil = kj::NEVER_DONE);
  // As pauseUntil(), and does what is asked for meanwhile. `attachment`: nullptr before there is one, of
  // which `reason` tells why.
  void pauseAndAnswer(uint64_t monotonicNanos, const Attachment* attachment, const std::string& reason = {});
  void answer(Ask ask, const Attachment* attachment, const std::string& reason);
  // Those of --map-write only where sched_ext is `enabled`.
  void attemptWrites(const Attachment& attachment, bool enabled);
  void writeDump(const DumpAsk& ask, const Attachment* attachment, const std::string& reason);
  void fillDump(rpc::Dump::Builder out, const DumpAsk& ask, const Attachment* attachment,
                const std::string& reason);
  template <typename T>
  std::optional<T> waitFor(kj::Promise<T> promise);  // nothing: the end came first
  std::optional<Analysis> lookup(const std::string& buildId);
  void store(const Attachment& attachment);
  Attachment attachNow();
  std::optional<rpc::FreezeLease::Client> freezeLease();  // nothing: the end came first
  std::vector<VmcoreCpu> coreCpus(const Attachment& attachment);
  // Tries until `deadline` (CLOCK_MONOTONIC, 0: until the end); `reason` tells why there is nothing.
  std::optional<Attachment> attach(std::string& reason, uint64_t deadline);
  void writeWaiting(const std::string& reason, uint64_t elapsedMs);
  void writeAttached(const Attachment& attachment, const Sampler& sampler);
  void sampleLoop(const Attachment& attachment);
  // The record waits for the vCPUs' times, but no longer than to `due`.
  // True: sched_ext is enabled.
  bool writeSample(Sampler& sampler, uint64_t sequence, uint64_t due);
  // From now on. Throws Error "kernel-not-found" and as Watches::add().
  void watch(const std::string& expression);
  size_t tellWatches();  // how many have changed
  void put(rpc::MonitorRecord::Reader record);
  void finish(rpc::EndKind kind, std::string detail);

  kj::AsyncIoContext& io_;
  MonitorOptions options_;
  RecordWriter writer_;
  Fd signals_;
  kj::UnixEventPort::FdObserver signalObserver_;
  std::optional<kj::UnixEventPort::FdObserver> reader_;  // of standard output, where it is a pipe
  Asks asks_;
  std::list<PendingWrites> writes_;
  std::optional<ErrorWatch> errors_;  // with grantsFd, once there is a kernel
  Watches watches_;
  const Attachment* watched_ = nullptr;  // in which they are
  std::unique_ptr<Connection> vm_, cache_, gate_, grants_;
  std::optional<VcpuTimes> times_;
  std::optional<RamFile> ram_;
  std::optional<Analysis> known_;
  uint32_t loadMicros_ = 0;  // to map and check a stored analysis
  Fd storeFile_;
  kj::Maybe<kj::Promise<void>> storing_;
  kj::ForkedPromise<void> ended_ = nullptr;  // resolves when end_ has been set from outside
  std::optional<End> end_;
  uint64_t samples_ = 0, tornSamples_ = 0, costSum_ = 0;
  uint32_t maxCost_ = 0;
};

template <typename T>
std::optional<T> MonitorService::waitFor(kj::Promise<T> promise) {
  std::optional<T> result;
  try {
    promise.then([&](T value) { result = std::move(value); })
        .exclusiveJoin(ended_.addBranch())
        .wait(io_.waitScope);
  } catch (const kj::Exception& exception) {
    io_.waitScope.poll();  // a lost connection also fails the calls on it
    if (!end_) rethrowAsError(exception);
  }
  return result;
}

}  // namespace ktstr
