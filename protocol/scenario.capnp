# A scenario is data: what to build in the guest, what to run, how long, and what must hold.
# Its JSON form (protocol/json.h) is what scenario files contain: field names as here, a union as an object with the
# chosen member's name, a Void member as null. Units are part of the names.
@0xb7a1c2f0d5e61302;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

const backdropStep :UInt32 = 0xffffffff;             # the step of reports and failures of the backdrop
const unlimited :UInt64 = 0xffffffffffffffff;        # "max" in a limit

struct Scenario {
  name @0 :Text;               # [a-z0-9_-], 1..64 bytes
  description @1 :Text;
  durationMs @2 :UInt32 = 2000; # what a hold's fraction refers to; 1..3600000
  steps @3 :List(Step);        # run in order; at least one
  assertions @4 :Assertions;
  backdrop @5 :Backdrop;       # what lives across all steps
  schedulers @6 :List(SchedulerDef); # those that operations attach, besides the one under test; at most 16
  schedulerAssertions @7 :Assertions; # of every test of the scheduler: over the defaults, under `assertions`
  snapshots @8 :UInt32;        # that the host takes of the scheduler's state, evenly in the middle 80 % of the scenario;
                               # 0..64, at least 100 ms apart (guest/scenario/snapshot_times.h)
}

struct Backdrop {
  # Set up before the first step, in the same order as a step, and collected, judged and removed after the last one.
  # Its workers run through all steps. Steps may change its cgroups and put workers of their own into them, but not
  # stop or remove them.
  cgroups @0 :List(CgroupDef);
  ops @1 :List(Op);            # once, after its workers have started; no scheduler operations, no writeMap
}

struct Step {
  # Creates its cgroups with their workers, applies its operations, holds, then collects every worker's report and
  # removes its cgroups. Workers start together once all are in place. At its end everything that is frozen thaws, and
  # its payloads that still run are killed.
  name @0 :Text;
  cgroups @1 :List(CgroupDef);
  ops @2 :List(Op);
  hold @3 :HoldSpec;
}

struct HoldSpec {
  union {
    fraction @0 :Float64 = 1.0;  # of Scenario.durationMs; > 0, finite
    fixedMs @1 :UInt32;          # > 0
    loop :group {                # all the step's ops, then a pause; again and again, for a fraction of durationMs
      intervalMs @2 :UInt32 = 100;  # > 0. The ops must fit after themselves: what a round adds it removes, and it
                                    # neither spawns work nor runs payloads
      fraction @3 :Float64 = 1.0;   # > 0, finite; a round that has begun is finished
    }
  }
}

struct CgroupDef {
  name @0 :Text;             # relative path below the scenario's root cgroup, "a" or "a/b"; components [A-Za-z0-9_.-];
                             # parents are made
  cpuset @1 :CpusetSpec;
  limits @2 :CgroupLimits;
  work @3 :List(WorkSpec);   # at least one; addCgroup makes an empty cgroup
  cpusetMems @4 :List(UInt32); # cpuset.mems, NUMA nodes with memory, inside the parent's; empty = the parent's
  # For those of `work` whose own field is unset:
  nice @5 :Int8;
  comm @6 :Text;
  pcomm @7 :Text;
  uid @8 :UInt32;
  gid @9 :UInt32;
  numaNode @10 :Int32 = -1;
}

struct CgroupLimits {
  # 0 = leave what the kernel has. Each is read back after it was written: a value that the kernel took in another way
  # is a failure. `unlimited` is its "max". A file that this kernel does not have is a failure as well.
  cpuWeight @0 :UInt32;         # cpu.weight, 1..10000; the kernel's default is 100
  cpuQuotaUs @1 :UInt64;        # cpu.max: CPU time in each period, 1000 us to 1000 s; above the period: several CPUs
  cpuPeriodUs @2 :UInt64 = 100000; # 1000..1000000; means something only with cpuQuotaUs
  memoryMaxBytes @3 :UInt64;    # memory.max, memory.high, memory.low: multiples of 4096, low <= high <= max
  memoryHighBytes @4 :UInt64;
  memoryLowBytes @5 :UInt64;
  memorySwapMaxBytes @6 :UInt64; # memory.swap.max: a multiple of 4096
  ioWeight @7 :UInt32;          # io.weight, 1..10000; the kernel's default is 100
  pidsMax @8 :UInt64;           # pids.max: tasks, those of child cgroups included; stops forks, not what is moved in
}

struct CpusetSpec {
  # Resolved against the declared topology before boot; a spec that names no CPU is refused.
  union {
    inherit @0 :Void;
    llc @1 :UInt32;                 # every CPU of one LLC
    numa @2 :UInt32;                # every CPU of one NUMA node
    range :group {                  # fractions of all CPUs: [floor(n*start), floor(n*end))
      start @3 :Float64;
      end @4 :Float64 = 1.0;
    }
    disjoint :group {               # part `index` of `of` equal parts, the last takes the remainder
      index @5 :UInt32;
      of @6 :UInt32;
    }
    overlap :group {                # as disjoint, each part widened by floor(part*fraction) CPUs at both ends
      index @7 :UInt32;
      of @8 :UInt32;
      fraction @9 :Float64;
    }
    exact @10 :List(UInt32);        # CPU numbers
  }
}

struct AffinityIntent {
  # Where the workers may run (sched_setaffinity), resolved before boot against the topology and the cpuset in force
  # at that point of the scenario; what comes out empty is refused. The mask is read back: the kernel must have made
  # it the intent cut by the cpuset. A cpuset that changes later leaves the intent in force inside it.
  union {
    inherit @0 :Void;               # no call: the cpuset alone
    exact @1 :List(UInt32);         # CPU numbers, all inside the cpuset
    randomSubset :group {           # for each worker `count` CPUs of the pool, drawn without repetition
      pool @2 :List(UInt32);        # CPU numbers; empty = the cpuset. What is outside the cpuset is left out
      count @3 :UInt32;             # 1 .. what is left of the pool
      seed @4 :UInt64 = 1;          # the same seed gives the same CPUs on every run
    }
    llcAligned @5 :Void;            # the CPUs of the LLC that shares most with the cpuset (the first of equals)
    crossCgroup @6 :Void;           # every CPU of the machine, which the kernel cuts by the cpuset
    singleCpu @7 :Void;             # the first CPU of the cpuset, the same for all workers
    smtSiblingPair @8 :Void;        # the threads of the first core with two or more inside the cpuset
  }
}

struct SchedPolicy {
  # sched_setscheduler(2), read back after the call. A refusal by the kernel (EPERM, EINVAL) is a named failure.
  union {
    normal @0 :Void;
    batch @1 :Void;
    idle @2 :Void;
    fifo @3 :UInt32;                # priority 1..99
    rr @4 :UInt32;                  # priority 1..99
    ext @5 :Void;                   # SCHED_EXT (7): under a sched_ext scheduler, even one that takes only such tasks;
                                    # EEVDF without one. Needs a kernel with sched_ext
    deadline :group {               # 1 <= runtime <= deadline <= period, in us; the kernel takes the period from
      runtimeUs @6 :UInt32;         # /proc/sys/kernel/sched_deadline_period_{min,max}_us, admits no task that may not
      deadlineUs @7 :UInt32;        # run on every CPU of its root domain (so no affinity, no cpuset), and lets none fork
      periodUs @8 :UInt32;          # 0 = the deadline
    }
  }
}

struct MemPolicy {
  # set_mempolicy(2) of each worker before its work, read back. Nodes must exist, have memory and be inside the
  # cgroup's cpusetMems.
  union {
    default @0 :Void;               # no call
    bind @1 :List(UInt32);          # at least one node, also in the other lists
    preferred @2 :UInt32;
    interleave @3 :List(UInt32);
    local @4 :Void;
    preferredMany @5 :List(UInt32); # Linux 5.15 or later
    weightedInterleave @6 :List(UInt32); # Linux 6.9 or later
  }
  # Flags, for policies that name nodes:
  staticNodes @7 :Bool;             # MPOL_F_STATIC_NODES: the nodes stay these when cpuset.mems changes
  relativeNodes @8 :Bool;           # MPOL_F_RELATIVE_NODES: they are numbers within cpuset.mems; not with staticNodes
  numaBalancing @9 :Bool;           # MPOL_F_NUMA_BALANCING; with bind and preferredMany
}

struct WorkSpec {
  # A group of identical workers. Settings are made before the worker starts to work, in the order policy and nice,
  # affinity, memory policy, comm, gid, uid; each is read back, and one that the kernel refuses is a named failure.
  name @0 :Text;                # [A-Za-z0-9_.-], 1..64 bytes, its own in its step and cgroup; empty = the type's name
  workers @1 :UInt32 = 1;       # > 0; a multiple of the type's group size
  type @2 :import "work_type.capnp".WorkType;
  nice @3 :Int8;                # -20..19; 0 = the cgroup's. Not with fifo, rr, deadline, which have none
  affinity @4 :AffinityIntent;
  cloneMode @5 :CloneMode;
  policy @6 :SchedPolicy;
  memory @7 :MemPolicy;
  comm @8 :Text;                # name of each task, 1..15 printable bytes; empty = the cgroup's, or its parent's
  pcomm @9 :Text;               # groups of a cgroup with the same pcomm are threads of one process of this name, 1..15
                                # bytes; empty = the cgroup's, or none: each as cloneMode says
  uid @10 :UInt32;              # real, effective and saved; 0 = the cgroup's, or root
  gid @11 :UInt32;              # likewise; supplementary groups are dropped
  numaNode @12 :Int32 = -1;     # run on the CPUs of this node that are in the cpuset: an affinity of its own, so not
                                # with another one; -1 = the cgroup's, or none
}

enum CloneMode {
  fork @0;                      # every worker is a process
  thread @1;                    # the workers are threads of one process of their own
}

struct SchedulerDef {
  # A scheduler that operations attach in mid-run.
  name @0 :Text;              # how operations call it: [A-Za-z0-9_.-], 1..64 bytes
  binary @1 :Text;            # as --scheduler takes it; packed into the guest with its libraries
  args @2 :List(Text);
}

struct Payload {
  # A program of the host, packed into the guest with its shared libraries, run as root in a process group of its own.
  # How it ended and the last 64 KiB of what it printed are reported and judged.
  name @0 :Text;              # how waitPayload and killPayload call it: [A-Za-z0-9_.-], 1..64 bytes; its own in its
                              # step, and among those that run
  binary @1 :Text;            # path on the host, or a name looked up in PATH
  args @2 :List(Text);
  cgroup @3 :Text;            # it is in it before it executes; empty = outside all cgroups of the scenario
  exitCode @4 :UInt8;         # what it must end with; any other end is a failure, unless it was killed by us
}

struct Op {
  # Each is applied when the one before has taken effect, and becomes an opApplied event with what was read back.
  # "" as a cgroup is the machine's root cgroup, outside of the scenario's; only spawn and payloads take it.
  union {
    addCgroup @0 :Text;         # an empty cgroup, removed at the end of the step
    removeCgroup @1 :Text;      # stops its workers, whose reports count, kills its payloads, and removes it. Not a
                                # backdrop's, from a step; nor one with child cgroups
    setCpuset :group {
      cgroup @2 :Text;
      cpuset @3 :CpusetSpec;
    }
    stopCgroup @4 :Text;        # stops its workers, whose reports count, and kills its payloads; the cgroup stays. Not
                                # a backdrop's, from a step
    sleepMs @5 :UInt32;         # 1..3600000
    clearCpuset @6 :Text;       # back to the parent's
    swapCpusets :group {        # the own cpusets of two cgroups; one that has none gets one, and the other loses it
      a @7 :Text;
      b @8 :Text;
    }
    spawn :group {              # more workers in a cgroup that has no child cgroups; they start at once
      cgroup @9 :Text;
      work @10 :WorkSpec;
    }
    setAffinity :group {        # of every worker that is in the cgroup; `inherit` lifts what there was
      cgroup @11 :Text;
      affinity @12 :AffinityIntent;
    }
    moveAllTasks :group {       # all workers and payloads of one cgroup into another. A step's that come into a cgroup of
      from @13 :Text;           # the backdrop stay until the scenario's end; the backdrop's cannot come into a step's.
      to @14 :Text;             # `to` has no child cgroups
    }
    freezeCgroup @15 :Text;     # and waits until the kernel says that it is frozen, at most 5 s. What is frozen is not
    unfreezeCgroup @16 :Text;   # judged for not running. Stopping and removing thaw first
    setLimits :group {
      cgroup @17 :Text;
      limits @18 :CgroupLimits;
    }
    runPayload @19 :Payload;    # starts it; killed at the end of the step if it still runs
    waitPayload :group {        # until it ends
      name @20 :Text;
      timeoutMs @21 :UInt32 = 60000; # 1..3600000; longer is a failure, and it is killed
    }
    killPayload @22 :Text;      # SIGKILL to its process group, and waits for its end
    snapshot @23 :Text;         # asks the host to keep the scheduler's state under this name: [A-Za-z0-9_.-], 1..64 bytes;
                                # goes on when it is taken, or after 10 s
    watch @24 :Text;            # asks the host to look at a value from now on, once each period of its monitor, and to
                                # take a snapshot at each change that it sees: an expression of monitor/watch.h, mostly a
                                # kernel symbol; 1..128 printable bytes, at most 16 in a scenario
    attachScheduler @25 :Text;  # starts a scheduler and waits until it is attached; "" = the one under test, else a
                                # name of Scenario.schedulers. Only while none is attached
    detachScheduler @26 :Void;  # asks the attached one to end (SIGINT) and waits until the kernel says that sched_ext
                                # is disabled: EEVDF from then on
    replaceScheduler @27 :Text; # detach, then attach; a name as for attachScheduler
    writeMap @28 :List(Text);   # asks the host to write values of the attached scheduler's BPF maps, MAP:PLACE=VALUE each
                                # (protocol/map_write.h), all or none; goes on when that is done or has failed, or after
                                # 10 s. Only while a scheduler is attached, not in a loop; at least one, each to another
                                # place, and with --map-write at most 64 in a run
  }
}

enum Choice {
  unset @0;
  yes @1;
  no @2;
}

struct Assertions {
  # NaN and unset mean "the default" (orchestrator/assertions.h lists the defaults). All comparisons are strict:
  # a value equal to its limit passes.
  notStarved @0 :Choice;                   # a worker without one finished unit of work fails, and
                                           # a CPU that idles while work waits for it
  isolation @1 :Choice;                    # a worker seen on a CPU outside its cgroup's cpuset fails
  maxSpreadPct @2 :Float64 = nan;          # per work group: max - min share of wall time on CPU, percentage points
  maxGapMs @3 :Float64 = nan;              # longest time a worker that wanted to run made no progress
  maxP99WakeLatencyUs @4 :Float64 = nan;   # per work group, pooled
  minIterationsPerSecond @5 :Float64 = nan; # of every worker, wall time
  maxMigrationRatio @6 :Float64 = nan;     # migrations per iteration, per work group
  # What the monitor saw. A condition must hold for `sustainedSamples` consecutive samples to count.
  maxImbalanceRatio @7 :Float64 = nan;     # max/min runnable tasks over CPUs, min taken as at least 1
  maxLocalDsqDepth @8 :Float64 = nan;      # tasks
  failOnStall @9 :Choice;                  # a busy CPU whose runqueue clock does not advance
  sustainedSamples @10 :UInt32;            # 0 = default
  maxFallbackRate @17 :Float64 = nan;      # SCX_EV_SELECT_CPU_FALLBACK of all CPUs, 1/s
  maxKeepLastRate @18 :Float64 = nan;      # SCX_EV_DISPATCH_KEEP_LAST of all CPUs, 1/s
  # Per work group, of at least two workers: the standard deviation of their rates, over the mean.
  maxThroughputCv @11 :Float64 = nan;      # of work units per CPU second
  minWorkRate @12 :Float64 = nan;          # of every worker, work units per CPU second
  maxWakeLatencyCv @13 :Float64 = nan;     # of all wake latencies of a work group, pooled
  # Memory of every worker that reports where its pages are, against the nodes that it may use (its memory policy's;
  # without one those of its CPUs).
  minPageLocality @14 :Float64 = nan;      # 0..1, share of its pages on those nodes
  maxCrossNodeMigrationRatio @15 :Float64 = nan; # pages that NUMA balancing moved, over its pages
  maxSlowTierRatio @16 :Float64 = nan;     # 0..1, share of its pages on nodes without CPUs
  relative @19 :Relative;
}

struct Relative {
  # Against EEVDF on the same machine: with any of these the scenario runs twice in one VM, under the scheduler and then,
  # after it was detached, without it; each work group is compared with itself. NaN = not judged. Refused for a scenario
  # that attaches, detaches or replaces schedulers itself, or writes into their maps, and without a scheduler under test.
  minThroughputRatio @0 :Float64 = nan;      # iterations per second
  maxP99WakeLatencyRatio @1 :Float64 = nan;
  maxMeanRunDelayRatio @2 :Float64 = nan;    # per timeslice
  maxGapRatio @3 :Float64 = nan;             # longest gap of any worker
  maxMigrationRatio @4 :Float64 = nan;       # migrations per iteration
  maxSpreadDifferencePct @5 :Float64 = nan;  # percentage points of spread more than under EEVDF
}
