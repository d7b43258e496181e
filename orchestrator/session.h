// One run of one machine: boots it, follows it through its phases, ends it, and keeps what the judge needs.
#pragma once

#include <kj/async-io.h>

#include <memory>
#include <optional>
#include <string>

#include "guest/boot/machine.h"
#include "orchestrator/guest_link.h"
#include "orchestrator/host_writes.h"
#include "orchestrator/judge.h"
#include "orchestrator/live_judgement.h"
#include "orchestrator/machine_link.h"
#include "orchestrator/monitor_link.h"
#include "orchestrator/options.h"
#include "orchestrator/periodic.h"
#include "orchestrator/phase_limits.h"
#include "orchestrator/phases.h"
#include "orchestrator/snapshots.h"
#include "orchestrator/timeline_samples.h"
#include "orchestrator/watch_requests.h"

namespace ktstr {

// The helper processes of a run; started before the sandbox, idle until the machine boots. Both are absent if
// somebody else runs the monitor.
struct Helpers {
  Child analysis;  // ktstr-cache serve, which the monitor asks for symbols
  Child monitor;
  Fd monitorOutput;          // the monitor's records, as of --format capnp
  Fd grants;                 // where it asks for a write gate, and is asked for dumps
  HostWrites::Asked writes;  // that it was told to make
};
// `observe` is our end of the VMM's observe socket; the monitor gets it.
Helpers startHelpers(Fd observe, const std::string& buildId, const GuestOptions& guest,
                     uint32_t samplePeriodMs);

class Session {
 public:
  // `scenario` must outlive this object, as all the others.
  Session(kj::AsyncIoContext& io, MachineLink& machine, Helpers& helpers, Phases& phases,
          PendingRecord& record, PhaseLimits limits, const Limits& assertions, rpc::Scenario::Reader scenario,
          bool underScheduler, uint32_t samplePeriodMs);

  // Runs the prepared machine to its end, whatever that is. Throws nothing that concerns the run: see
  // lifecycle(). `base` is the initramfs base, borrowed; `place` as of MachineLink::boot().
  void run(PreparedRam prepared, int base, std::span<const std::byte> orders,
           std::function<void(rpc::Placement::Builder)> place);

  // All valid after run(), as long as the session.
  const Lifecycle& lifecycle() const { return lifecycle_; }
  std::vector<rpc::GuestEvent::Reader> events() const { return guest_->events(); }
  const std::string& console() const { return guest_->console(); }
  MonitorEvidence monitor() const { return analysis_.evidence(); }
  const std::vector<TimelineSample>& samples() const { return samples_.all(); }
  std::optional<ClockOffset> clock() const { return guest_->clock().offset(); }
  // The monitor's first record, if there was one.
  std::optional<rpc::Attached::Reader> attached() const;
  const HostWrites& writes() const { return writes_; }
  Snapshots& snapshots() { return snapshots_; }
  const Snapshots& snapshots() const { return snapshots_; }
  int ram() const { return prepared_.ram.get(); }

 private:
  kj::Promise<void> bootAndWait(int base);
  kj::Promise<void> watchClock();
  kj::Promise<void> watchSignal(int number);
  void onEvent(rpc::GuestEvent::Reader event);
  void onRecord(rpc::MonitorRecord::Reader record);
  bool panicked() const;
  void snapshotFailure(const char* name);
  void enter(RunPhase phase, const char* name, uint32_t limitMs);
  void windDown();
  void keepExit();
  kj::Promise<void> stopMachine();
  void noteHelpers();

  kj::AsyncIoContext& io_;
  MachineLink& machine_;
  Helpers& helpers_;
  Phases& phases_;
  PendingRecord& record_;
  PhaseLimits limits_;
  PreparedRam prepared_;
  std::function<void(rpc::Placement::Builder)> place_;
  MonitorAnalysis analysis_;
  TimelineSamples samples_;
  std::unique_ptr<GuestLink> guest_;
  std::unique_ptr<MonitorLink> monitor_;
  kj::Promise<void> pumping_ = kj::READY_NOW;
  kj::Promise<void> observing_ = kj::READY_NOW;
  kj::Maybe<kj::Own<Connection>> grants_;
  Snapshots snapshots_;
  std::vector<kj::Promise<void>> answering_;  // snapshots that the guest asked for
  PeriodicSnapshots periodic_;
  WatchRequests watches_;
  HostWrites writes_;
  LiveJudgement live_;
  capnp::MallocMessageBuilder exit_, attached_;
  uint64_t phaseStartNs_ = 0;
  uint32_t phaseLimitMs_ = 0;
  bool panicSeen_ = false;
  bool hasAttached_ = false;
  Lifecycle lifecycle_;
};

}  // namespace ktstr
