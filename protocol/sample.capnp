# What the monitor sees from outside, one MonitorRecord per line of its output.
@0xb7a1c2f0d5e61304;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

using Dump = import "dump.capnp";
using Machine = import "machine.capnp";

struct MonitorRecord {
  union {
    attached @0 :Attached;      # once, first
    sample @1 :Sample;
    ended @2 :Ended;            # once, last
    waiting :group {            # while the kernel cannot be found yet; at most one a second
      reason @3 :Text;
      elapsedMs @4 :UInt32;
    }
    mapWrite @5 :MapWriteOutcome; # one for each that was asked for, all of one --map-write or Monitor.write at the same time
    dump @6 :Dump.Dump;         # one for each that was asked for, in their order; with --grants-fd also, unasked, one
                                # called "scheduler-error" of each scheduler that the kernel ends for an error
    watchdog @7 :WatchdogWrite; # with --watchdog-ms: each time that a scheduler was found with another timeout
    watchHit @8 :WatchHit;      # of an expression that is watched
  }
}

interface Monitor {
  # Bootstrap object of the monitor on the connection on which it finds WriteGrants. Held by the orchestrator that started
  # it. Calls are answered when the record has been written to standard output, and wait for one another.
  dump @0 (name :Text, reason :Dump.DumpReason, schedulerStats :Text) -> ();
  # Any number of times, also before the kernel was found: then the record says what is absent.
  watch @1 (expression :Text) -> ();
  # Watches from now on, once each period (monitor/watch.h). Fails by name where the expression means nothing in this guest,
  # for more than 16, and before the kernel was found.
  write @2 (step :UInt32, op :UInt32, writes :List(Text)) -> ();
  # Writes values of BPF maps, MAP:PLACE=VALUE each, all or none, through a gate that it asks WriteGrants for. What became
  # of them are records, which name the operation of the scenario that asked. Waits until the kernel was found.
}

struct WatchHit {
  expression @0 :Text;
  before @1 :Text;              # as rendered to JSON
  after @2 :Text;
  sequence @3 :UInt64;          # of the sample before
  atNs @4 :UInt64;              # host CLOCK_MONOTONIC
}

struct WatchdogWrite {
  # What became of --watchdog-ms. See monitor/watchdog.h.
  failure @0 :Text;             # empty: written
  problem @1 :Text;             # the failure for people
  place @2 :Text;               # "scx_sched.watchdog_timeout", "scx_watchdog_timeout"
  beforeMs @3 :UInt64;
  askedMs @4 :UInt64;
  readBackMs @5 :UInt64;        # after the write
  atNs @6 :UInt64;              # host CLOCK_MONOTONIC
}

interface WriteGrants {
  # Bootstrap object of the connection over which a monitor that is to write asks for what it needs. Held by the monitor,
  # served by the orchestrator, which has the Machine.
  grant @0 (ranges :List(Machine.GpaRange)) -> (gate :Machine.WriteGate);
  # A gate for just these bytes. Refused where all grants together have more ranges, or one of them is longer, than the
  # writes of the run can need: at most 8 bytes each, two for a map value (of --map-write and of the scenario's operations,
  # 64 together), three for each time that a watchdog's timeout is set.
}

struct MapWriteOutcome {
  # What became of one value that was to be written. Values are the bytes in guest memory, little-endian, zero-extended.
  asked @0 :Text;               # MAP:PLACE=VALUE
  failure @1 :Text;             # empty: written. Else nothing was written of all that was asked for at once: "map-unknown",
                                # "path-invalid", "value-invalid", "write-refused", "freeze-failed" (the guest could not be made to
                                # stand still), "map-moved", ...; "held-back": another one failed;
                                # of an operation also "no-monitor", "monitor-failed", "timed-out".
                                # "freeze-lost" alone: all was written, but the guest went on before the last of it
  problem @2 :Text;             # the failure for people, with what there is instead
  # If written:
  map @3 :Text;                 # the map's name
  address @4 :UInt64;           # in the guest's kernel
  bytes @5 :UInt8;              # 1..8
  before @6 :UInt64;
  wrote @7 :UInt64;
  after @8 :UInt64;             # read back at once; afterValid is false if it could not be
  afterValid @9 :Bool;
  atNs @10 :UInt64;             # host CLOCK_MONOTONIC, after the write
  # Who asked:
  ofOperation @11 :Bool;        # the operation writeMap at this place of the scenario; else --map-write
  step @12 :UInt32;
  op @13 :UInt32;
  frozenNs @14 :UInt64;         # for so long the guest stood still for all that was asked for at once
}

struct Attached {
  release @0 :Text;             # OSRELEASE of VMCOREINFO
  buildId @1 :Text;             # hex
  physBase @2 :UInt64;
  virtualSlideBytes @3 :UInt64; # KERNELOFFSET
  pagingLevels @4 :UInt8;       # 4 or 5
  pageOffset @5 :UInt64;        # base of the direct map
  cpus @6 :UInt32;
  symbols @7 :UInt32;
  btfBytes @8 :UInt32;
  cached @9 :Bool;              # symbols came from the cache
  findMicros @10 :UInt32;       # find the kernel in RAM
  symbolsMicros @11 :UInt32;    # decode or load symbols
  btfMicros @12 :UInt32;
  totalMicros @13 :UInt32;
  scxEventNames @15 :List(Text); # of the counters of CpuSample.scxEvents, as BTF has them: "SCX_EV_SELECT_CPU_FALLBACK"
  domainStatNames @16 :List(Text); # of DomainSample.stats, as BTF has them: "alb_count", "lb_balanced[2]" (by enum cpu_idle_type)
  absent @14 :List(Text);       # what this kernel does not have, each with its reason: "scx_root: no such symbol"
}

enum ScxState {
  # kernel/sched/ext.c enum scx_enable_state
  enabling @0;
  enabled @1;
  disabling @2;
  disabled @3;
  unknown @4;
}

struct Sample {
  sequence @0 :UInt64;
  atNs @1 :UInt64;              # host CLOCK_MONOTONIC
  costNs @2 :UInt32;            # time this sample took
  jiffies @3 :UInt64;           # guest jiffies_64
  scx @4 :ScxSample;
  cpus @5 :List(CpuSample);
  vcpuTimesAtNs @6 :UInt64;
  # Host CLOCK_MONOTONIC when the VMM had told each vCPU's host CPU time, soon after atNs. 0: it did not, or not in
  # time, and hostTimeNs has no meaning in this sample.
  incomplete @8 :Text;          # what is left out of this sample, and why; empty: nothing
  progs @7 :List(ProgSample);   # the attached scheduler's programs; empty: none, or Attached.absent has the reason
}

struct ProgSample {
  # Run statistics of a BPF program since it was loaded, all CPUs together; kept while kernel.bpf_stats_enabled is 1.
  id @0 :UInt32;
  name @1 :Text;
  runs @2 :UInt64;
  nanos @3 :UInt64;
  misses @4 :UInt64;
}

struct Schedstat {
  # struct rq and its sched_info, since boot; where the kernel has CONFIG_SCHEDSTATS.
  yldCount @0 :UInt32;
  schedCount @1 :UInt32;
  schedGoidle @2 :UInt32;
  ttwuCount @3 :UInt32;
  ttwuLocal @4 :UInt32;
  runDelayNs @5 :UInt64;
  pcount @6 :UInt64;            # timeslices
  cpuTimeNs @7 :UInt64;
}

struct CfsSample {
  nrQueued @0 :UInt32;          # entities of the root cfs_rq: nr_queued, or nr_running of older kernels
  hNrQueued @1 :UInt32;         # tasks of all groups below it: h_nr_queued, or h_nr_running
  loadWeight @2 :UInt64;
}

struct DomainSample {
  # One struct sched_domain of a CPU, from the lowest level upwards.
  level @0 :UInt32;
  name @1 :Text;                # "SMT", "MC", "NUMA"
  flags @2 :UInt32;
  spanWeight @3 :UInt32;
  balanceInterval @4 :UInt64;   # jiffies
  nrBalanceFailed @5 :UInt32;
  maxNewidleLbCostNs @6 :UInt64;
  lbCount @7 :List(UInt32);     # by enum cpu_idle_type; empty where the kernel keeps none
  lbFailed @8 :List(UInt32);
  ttwuMoveAffine @9 :UInt32;
  stats @10 :List(UInt32);      # what else it counts since boot, as Attached.domainStatNames; newidle_ratio is no counter
}

struct ScxSample {
  present @0 :Bool;             # the kernel has sched_ext and its state could be read
  state @1 :ScxState;
  opsName @2 :Text;             # empty: none attached
}

struct CpuSample {
  # A field group that could not be read has valid = false and no other meaning.
  cpu @0 :UInt32;
  valid @1 :Bool;
  nrRunning @2 :UInt32;
  clock @3 :UInt64;             # rq->clock, ns
  currPid @4 :Int32;
  currComm @5 :Text;
  scxValid @6 :Bool;
  scxNrRunning @7 :UInt32;
  scxFlags @8 :UInt32;          # enum scx_rq_flags
  localDsqDepth @9 :UInt32;     # scx_rq.local_dsq.nr
  torn @10 :Bool;               # two reads of the clock around the fields differed in all retries
  scxEvents @12 :List(UInt64);  # since the attached scheduler's start, as Attached.scxEventNames; empty: not readable, or none attached
  hostTimeNs @11 :UInt64;       # host CPU time of the vCPU since its start; see Sample.vcpuTimesAtNs
  # Absent (null) where the kernel has it not; Attached.absent has the reason.
  schedstat @13 :Schedstat;
  cfs @14 :CfsSample;
  asked @16 :Bool;              # its idle task is on it, and others have asked it to reschedule or to answer a call, which it has not done yet
  domains @15 :List(DomainSample); # empty: the CPU has none (one CPU), or they have not changed since the sample before
}

enum EndKind {
  vmGone @0;        # the observe connection was closed by the VMM
  stopped @1;       # SIGTERM, SIGINT, or standard output was closed
  sampleLimit @2;   # --count reached
  neverFound @3;    # no kernel found before the end
}

struct Ended {
  kind @0 :EndKind;
  samples @1 :UInt64;
  tornSamples @2 :UInt64;
  maxCostNs @3 :UInt32;
  meanCostNs @4 :UInt32;
  detail @5 :Text;
}
