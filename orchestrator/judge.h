// The verdict: guest report + monitor evidence + lifecycle. Pure: the same inputs give the same findings.
//
// Missing or implausible evidence is inconclusive, never a pass. A failure is named by its cause: what only
// follows from a cause already named (no worker reports after a panic) is not listed as a finding of its own.
//
// What a vCPU did while the host did not let it run is not the scheduler's: a stall, lockup, imbalance, deep
// local DSQ, gap, wake latency, unfairness, stuck or starved worker, watchdog exit or timeout that starvation
// by the host explains (cpu_sight.h, starvation.h) is a "host-starved" in place of its own name.
//
// Names and what each alone makes of the verdict (findings.h says how they add up):
//   guest kernel     kernel-panic, kernel-oops, guest-hang, kernel-lockup: fail;
//                    no-init, init-died: infrastructure;  kernel-warning: remark
//   scheduler        scheduler-died-at-start, scheduler-not-attached, scheduler-exited, scheduler-stalled,
//                    scheduler-not-detached, local-dsq-depth, cpu-starved: fail;
//                    scheduler-missing: infrastructure;  sched-ext-unsupported: skip
//   workers          worker-starved, worker-unfair, worker-gap, worker-isolation, worker-call-failed,
//                    worker-crashed, worker-stuck, affinity-changed, wake-latency, wake-latency-variation,
//                    iteration-rate, work-rate, throughput-variation, migration-ratio, page-locality,
//                    slow-tier, cross-node-migration, imbalance, fallback-rate, keep-last-rate, relative-*:
//                    fail; worker-setup-failed: infrastructure
//   payloads         payload-failed, teardown-incomplete: fail
//   evidence         monitor-missing, monitor-implausible, monitor-contradicts-guest, guest-report-missing,
//                    worker-report-missing, limit-not-judged, baseline-failed, mailbox-full, guest-corrupt,
//                    host-starved, timer-lost, stale-breakpoint: inconclusive;
//                    map-write-failed: inconclusive, infrastructure if the VMM refused it;
//                    limit-not-judged: a remark on a spread over a default that workers ran too short for
//   harness          vmm-killed, engine-failed, monitor-died, interrupted, guest-mount-failed,
//                    guest-cgroup-failed, guest-orders-invalid, guest-spawn-failed, guest-internal, and the
//                    name of any Error: infrastructure;
//                    performance-not-kept: infrastructure without hints, inconclusive if a vCPU left its CPU
//   timeout-PHASE    scheduler, scenario, collect: fail; baseline: inconclusive; others: infrastructure
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/assertions.h"
#include "orchestrator/console.h"
#include "orchestrator/findings.h"
#include "orchestrator/guest_clock.h"
#include "orchestrator/monitor_summary.h"
#include "orchestrator/stats.h"
#include "protocol/error.h"
#include "protocol/machine.capnp.h"
#include "protocol/report.capnp.h"

namespace ktstr {

// baseline: the second pass, under EEVDF, of a scenario that is compared with it.
enum class RunPhase { resolve, image, prepare, boot, scheduler, scenario, collect, baseline, judge };
const char* phaseName(RunPhase phase);

// What happened around the guest, as the orchestrator saw it.
struct Lifecycle {
  RunPhase phase = RunPhase::resolve;     // the last one that began
  std::optional<double> timedOutAfterMs;  // `phase` exceeded this bound
  std::optional<int> interruptedBy;       // signal number
  std::optional<std::string>
      vmmDied;  // how the VMM ended before it was asked to: "killed by SIGKILL"; or that it stopped answering
  std::optional<std::string> monitorDied;  // likewise the monitor, before the machine had ended
  std::optional<Error> error;              // thrown by the harness itself
  std::optional<std::string>
      guestCorrupt;                   // message of "mailbox-corrupt", or an event that could not be decoded
  std::optional<rpc::ExitKind> exit;  // nothing: the machine never ran, or its end was not seen
  std::string exitDetail;
};

// The writes of BPF maps that the monitor was to make, and what became of each.
struct MapWrites {
  std::vector<std::string>
      asked;  // of --map-write, MAP:PLACE=VALUE; there is no outcome of those that it never came to
  std::vector<rpc::MapWriteOutcome::Reader> outcomes;
};

// A watchdog's timeout that was asked for (0: none), and what the monitor told of it.
struct WatchdogWrites {
  uint32_t askedMs = 0;
  std::vector<rpc::WatchdogWrite::Reader> outcomes;
};

struct Evidence {
  rpc::Scenario::Reader scenario;
  Limits limits;
  std::string scheduler;  // the binary's name; empty: none was asked for, the kernel's own (EEVDF) runs
  std::span<const rpc::GuestEvent::Reader> events;  // in order; those of Passes::scheduler (relative.h)
  MonitorEvidence monitor;
  ConsoleReport console;
  Lifecycle lifecycle;
  bool emulated = false;                                   // by TCG
  bool besideEevdf = false;                                // a second pass was asked for
  std::span<const rpc::GuestEvent::Reader> baseline = {};  // what it told; empty: it never began
  MapWrites mapWrites = {};
  WatchdogWrites watchdog = {};
  std::optional<ClockOffset> clock = {};
  bool performanceMode = false;
};

Judgement judge(const Evidence& evidence);

// The reports among events.
std::vector<rpc::WorkerReport::Reader> workerReports(std::span<const rpc::GuestEvent::Reader> events);

}  // namespace ktstr
