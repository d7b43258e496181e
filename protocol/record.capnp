# The verdict record: one per run, the only thing a reader needs to know what happened.
@0xb7a1c2f0d5e61306;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

using Dump = import "dump.capnp";
using Machine = import "machine.capnp";
using Report = import "report.capnp";
using Sample = import "sample.capnp";
using Cache = import "cache.capnp";

enum Outcome {
  pass @0;
  fail @1;
  inconclusive @2;     # evidence is missing or implausible
  infrastructure @3;   # the harness or the host failed
  skip @4;             # nothing that was asked for could run here
}

struct Finding {
  # One reason for a verdict that is not a pass, or a remark on one that is.
  name @0 :Text;        # stable kebab-case: "worker-starved", "kernel-panic", "no-init", "timeout-boot", ...
  outcome @1 :Outcome;  # what this finding alone would make the verdict; pass = remark
  message @2 :Text;     # value, limit, who, when
  hint @3 :Text;        # the next step for the user
  step @4 :Text;
  cgroup @5 :Text;
  worker @6 :Text;
  cpu @7 :Int32 = -1;
  value @8 :Float64 = nan;
  limit @9 :Float64 = nan;
  evidence @10 :Text;   # console or scheduler log lines, sample numbers
}

struct Verdict {
  outcome @0 :Outcome;
  exitCode @1 :UInt8;
  findings @2 :List(Finding);
}

struct Phase {
  name @0 :Text;        # resolve, image, prepare, boot, scheduler, scenario, collect, judge, ...
  startMs @1 :Float64;  # since the run began
  durationMs @2 :Float64;
}

struct GroupStats {
  # One per work group of a step.
  step @0 :Text;
  cgroup @1 :Text;
  work @2 :Text;
  workers @3 :UInt32;
  iterations @4 :UInt64;
  iterationsPerSecond @5 :Float64 = nan;
  spreadPct @6 :Float64 = nan;       # needs two workers
  maxGapMs @7 :Float64 = nan;
  p50WakeLatencyUs @8 :Float64 = nan;
  p99WakeLatencyUs @9 :Float64 = nan;
  wakeSamples @10 :UInt64;
  meanRunDelayUs @11 :Float64 = nan; # per timeslice
  migrations @12 :UInt64;
  cpusSeen @13 :List(UInt32);
  cpuset @14 :List(UInt32);
}

struct MonitorSummary {
  samples @0 :UInt64;
  validSamples @1 :UInt64;
  maxImbalanceRatio @2 :Float64 = nan;
  maxLocalDsqDepth @3 :Float64 = nan;
  meanNrRunning @4 :Float64 = nan;
  stalledSamples @5 :UInt64;
  scxEnabledSamples @6 :UInt64;
  opsNames @7 :List(Text);
  maxCostNs @8 :UInt32;
  meanCostNs @9 :UInt32;
  vcpus @10 :List(VcpuTime);         # while the scenario ran; empty where the VMM does not tell
  # Of all CPUs together while the scenario ran, between samples in which each CPU's schedstat could be read; absent without
  # any.
  runDelayMsPerSecond @11 :Float64 = nan; # that tasks waited for a CPU (rq_sched_info.run_delay); 1000 is one task all the time
  schedulesPerSecond @12 :Float64 = nan;  # calls of schedule() (rq.sched_count)
  localWakeupShare @13 :Float64 = nan;    # 0..1: wakeups on the waker's own CPU (rq.ttwu_local of rq.ttwu_count)
  programs @14 :List(ProgramRuns);        # of the schedulers' BPF programs that ran, the one with the most time first
}

struct ProgramRuns {
  # By name, all schedulers of the run that had one of it together, while the scenario ran.
  name @0 :Text;                     # the kernel keeps 15 characters
  runs @1 :UInt64;
  nanosPerRun @2 :Float64 = nan;     # mean
  misses @3 :UInt64;                 # not run because they would have nested in themselves
}

struct VcpuTime {
  cpu @0 :UInt32;
  hostShare @1 :Float64;             # of one host CPU, 0..1; an idle vCPU has little
  starvedMs @2 :Float64;             # in which it wanted to run and the host hardly let it
}

struct HostFacts {
  kernel @0 :Text;
  cpuModel @1 :Text;
  cpus @2 :UInt32;
  memTotalKib @3 :UInt64;
  loadAverage @4 :Float64;
  kvm @5 :Text;          # what the tiny guest on /dev/kvm showed
  engine @6 :Text;
}

struct PerformanceFacts {
  # What was done so that the host disturbs the machine less. Pinning, priorities and pages were read back before the machine
  # ran. What the guest sees of the hints, and that its CPUs never left the host's, is seen while it runs: else
  # "performance-not-kept". Halt polling cannot be read back.
  enum Mode {
    ordinary @0;     # halt polling alone
    performance @1;  # pinned and SCHED_FIFO vCPUs, bound and huge pages, no exits for HLT and PAUSE, KVM_HINTS_REALTIME
    off @2;          # nothing (--no-perf-mode)
  }
  mode @0 :Mode;
  haltPoll :union {
    asHost @1 :Void;
    nanos @2 :UInt32;
  }
  cpus @3 :List(UInt16);         # of each vCPU
  serviceCpus @4 :List(UInt16);  # of the harness
  nodes @5 :List(UInt32);        # host NUMA node of each guest node's memory
}

struct SchedulerSpan {
  # When one sched_ext scheduler had the guest's tasks, in the guest's time since the scenario started: what was attached
  # before it has a negative time.
  name @0 :Text;                     # the scenario's, or the binary's for the one under test
  opsName @1 :Text;
  attachedMs @2 :Float64 = nan;
  leftMs @3 :Float64 = nan;          # absent: its end was not seen
  ordered @4 :Bool;                  # it left because it was asked to
}

struct EffectiveLimit {
  # One assertion as it was judged.
  name @0 :Text;               # as in Assertions: "maxSpreadPct"
  value @1 :Float64 = nan;     # NaN: not judged; 1 and 0 for a choice
  origin @2 :Origin;
  enum Origin {
    default @0;                # orchestrator/assertions.h
    scheduler @1;              # Scenario.schedulerAssertions
    test @2;                   # Scenario.assertions
  }
}

struct BaselineFigure {
  # One figure of a work group under the scheduler, beside the same under EEVDF in the same machine.
  step @0 :Text;
  cgroup @1 :Text;
  work @2 :Text;
  name @3 :Text;               # "iterationsPerSecond", "p99WakeLatencyUs", "meanRunDelayUs", "maxGapMs", "migrationRatio", "spreadPct"
  scheduler @4 :Float64 = nan;
  baseline @5 :Float64 = nan;  # NaN: not measured
}

struct Stimulus {
  # What happened to the machine at one moment: a step's start or end, an operation, a scheduler's coming or going.
  atMs @0 :Float64;            # guest time since the scenario started, when it had taken effect; negative before it
  kind @1 :Text;               # as in GuestEvent: "stepStarted", "stepEnded", "opApplied", "schedulerAttached", ...
  detail @2 :Text;             # "freezeCgroup a", "simple"
  tookMs @3 :Float64;          # until it had taken effect
  iterations @4 :Float64 = nan; # that all workers of this run of the scenario had finished by then; absent of a loop
}

struct PhaseFigures {
  # What was measured between two stimuli.
  cgroup @0 :Text;                    # that workers were made for, wherever they were moved; empty: all of them
  workers @1 :UInt32;                 # at its end
  iterationsPerSecond @2 :Float64 = nan;
  cpuShare @3 :Float64 = nan;         # CPUs' worth: 2.0 is two CPUs all the time. It and the delay are absent while there
                                      # are more workers than the agent reads the times of (guest/agent/progress.h)
  runDelayMs @4 :Float64 = nan;       # per second of the phase, all workers together
  iterations @5 :UInt64;              # in this phase; 0 also where iterationsPerSecond is absent
  changeIterations @6 :UInt64;        # before it, while its stimuli took effect
}

struct TimelinePhase {
  # From when a change of the machine had taken effect to when the next one begins. What changes within one period of the
  # monitor belongs together. orchestrator/timeline.h has the rules.
  name @0 :Text;                      # "run", "run: freezeCgroup a"
  step @1 :Text;
  scheduler @2 :Text;                 # its ops name; "eevdf"
  startMs @3 :Float64;                # guest time since the scenario started
  durationMs @4 :Float64;
  stimuli @5 :List(Stimulus);         # that began it, in order
  all @6 :PhaseFigures;
  cgroups @7 :List(PhaseFigures);
  samples @8 :UInt32;                 # of the monitor in this phase, all below from them
  maxImbalanceRatio @9 :Float64 = nan;
  meanImbalanceRatio @10 :Float64 = nan;
  maxLocalDsqDepth @11 :Float64 = nan;
  meanLocalDsqDepth @12 :Float64 = nan; # of a CPU
  meanNrRunning @13 :Float64 = nan;   # of a CPU
  stalledSamples @14 :UInt32;
  fallbackRate @15 :Float64 = nan;    # SCX_EV_SELECT_CPU_FALLBACK of all CPUs, 1/s
  keepLastRate @16 :Float64 = nan;    # SCX_EV_DISPATCH_KEEP_LAST of all CPUs, 1/s
  changes @17 :List(Text);            # against the phase before: "throughput -45 %", "a: throughput +31 %", "DSQ depth +4"
  changeMs @18 :Float64;              # before startMs: from when the first stimulus began to when the last had taken effect
  baseline @19 :Bool;                 # of the second run of the scenario, under EEVDF
  stimuliLeftOut @20 :UInt32;         # more than are listed
  runDelayMsPerSecond @22 :Float64 = nan; # these three as in MonitorSummary, between this phase's samples
  schedulesPerSecond @23 :Float64 = nan;
  localWakeupShare @24 :Float64 = nan;
  cgroupsLeftOut @21 :UInt32;
}

struct ClockAlignment {
  # Host CLOCK_MONOTONIC = guest CLOCK_MONOTONIC + offsetNs, give or take errorNs (orchestrator/guest_clock.h).
  offsetNs @0 :Int64;
  errorNs @1 :UInt64;
  events @2 :UInt32;                  # that bounded it from above
  exchanges @3 :UInt32;               # that bounded it from below
}

struct SnapshotFacts {
  # A dump of the scheduler's state that was taken, or should have been.
  name @0 :Text;
  reason @1 :Dump.DumpReason;
  atMs @2 :Float64 = nan;      # guest time since the scenario started, as far as it is known
  frozenMs @3 :Float64 = nan;  # absent: the guest ran meanwhile, or there is none
  file @4 :Text;               # in `directory`: where the Dump of this name is a line of JSON; empty: there is none, because of
  failure @5 :Text;            # "no-monitor: ...", see orchestrator/snapshots.h
}

struct GuestSettings {
  # What was made of the guest before the scheduler started, as the words of `ktstr run`.
  sysctls @0 :List(Text);      # NAME=VALUE
  includes @1 :List(Text);     # FILE or FILE:GUESTPATH, that of --scheduler-config among them
  files @2 :List(Text);        # GUESTPATH=CONTENT
  enable @3 :List(Text);       # PATH=VALUE
  disable @4 :List(Text);
  cgroupParent @5 :Text;
  commandLine @6 :Text;        # what was added to the kernel's, by --kernel-arg and --append
  environment @7 :List(Text);  # of the scheduler, NAME=VALUE
}

struct RunRecord {
  schemaVersion @0 :UInt32 = 1;
  id @1 :Text;
  startedUnixMs @2 :UInt64;
  ktstrVersion @3 :Text;
  scenario @4 :Text;
  topology @5 :Text;
  memoryMib @6 :UInt32;
  accelerator @7 :Text;
  scheduler @8 :Text;          # "eevdf" or the binary's name
  schedulerArgs @9 :List(Text);
  schedulerOps @10 :Text;      # the ops name that attached
  kernel @11 :Cache.KernelFacts;
  host @12 :HostFacts;
  guest @13 :Report.GuestFacts;
  verdict @14 :Verdict;
  phases @15 :List(Phase);
  groups @16 :List(GroupStats);
  workers @17 :List(Report.WorkerReport);
  monitorAttach @18 :Sample.Attached;
  monitor @19 :MonitorSummary;
  exit @20 :Machine.ExitReason;
  performance @22 :PerformanceFacts;
  schedulers @23 :List(SchedulerSpan);   # in the order in which they were attached
  payloads @24 :List(Report.PayloadReport);
  limits @25 :List(EffectiveLimit);
  baseline @26 :List(BaselineFigure);    # with Assertions.relative
  timeline @27 :List(TimelinePhase);
  clock @28 :ClockAlignment;             # absent: the guest told nothing in time
  mapWrites @29 :List(Sample.MapWriteOutcome); # of --map-write and of operations, in the order in which they were told of
  snapshots @30 :List(SnapshotFacts);    # in the order in which they were taken
  watchdog @31 :List(Sample.WatchdogWrite); # with a watchdog timeout of the test's own
  settings @32 :GuestSettings;
  directory @21 :Text;         # holds record.json, samples.jsonl, events.jsonl, console.log, scheduler.log, scenario.json, snapshots.jsonl
}
