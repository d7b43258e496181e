# What the guest tells the host: a stream of events in the mailbox (protocol/mailbox.h), each one message.
# All of it is foreign to the host: decode with limits, believe nothing that memory can contradict.
@0xb7a1c2f0d5e61303;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

struct GuestOrders {
  # Host to guest, written once into the mailbox before boot.
  scenario @0 :import "scenario.capnp".Scenario;
  cpusets @1 :List(ResolvedCpuset);  # every cpuset of the scenario, resolved by the host, in use order
  scheduler @2 :SchedulerOrders;
  topology @3 :Text;                 # as guest/topology.h writes it
  runId @4 :Text;                    # must equal the image's /ktstr/run
  affinities @5 :List(ResolvedAffinity); # every affinity but `inherit`, resolved, in use order
  schedulers @6 :List(SchedulerOrders);  # Scenario.schedulers, in their order
  baseline @7 :Bool;                 # after the scenario: detach the scheduler, and run it again
  # Before the scheduler starts, in this order:
  sysctls @8 :List(FileWrite);       # below /proc/sys; each is read back
  files @9 :List(FileWrite);         # made anew, with the directories above them
  enable @10 :List(FileWrite);       # of a scheduler inside the kernel: written to files that are there
  disable @11 :List(FileWrite);      # likewise, at the end, when the scheduler under test has been stopped
  cgroupParent @12 :Text;            # "/a/b": the scenario's cgroups are below this one; empty: below /ktstr
  hostWrites @13 :Bool;              # once the scheduler is attached the host writes into its memory: the scenario begins
                                     # when it has let the guest go on (protocol/mailbox.h)
}

struct FileWrite {
  path @0 :Text;                     # absolute
  content @1 :Text;
}

struct ResolvedCpuset {
  step @0 :UInt32;             # or Scenario.backdropStep
  cgroup @1 :Text;
  cpus @2 :List(UInt32);       # empty = inherit
  op @3 :Int32 = -1;           # the setCpuset operation, by its place in the step; -1: when the cgroup is made
}

struct ResolvedAffinity {
  step @0 :UInt32;
  cgroup @1 :Text;
  work @2 :Text;               # name of the work group; empty for setAffinity
  op @3 :Int32 = -1;           # the spawn or setAffinity operation; -1: the work of a CgroupDef
  cpus @4 :List(Text);         # lists as the kernel writes them; worker i of the group or cgroup takes list i modulo their
                               # number
}

struct SchedulerOrders {
  # Empty path: the kernel's own scheduler (EEVDF).
  path @0 :Text;                 # in the guest
  args @1 :List(Text);
  env @2 :List(Text);            # NAME=value
  attachTimeoutMs @3 :UInt32 = 10000;
  name @4 :Text;                 # as the scenario calls it; empty: the one under test
}

enum GuestFailureName {
  none @0;
  mountFailed @1;
  cgroupFailed @2;
  ordersInvalid @3;
  schedulerMissing @4;        # not in the image, or could not be executed
  schedulerDiedAtStart @5;    # exited before it attached
  schedulerNotAttached @6;    # still running, but sched_ext did not become enabled in time
  schedExtUnsupported @7;     # the kernel has no sched_ext
  schedulerExited @8;         # exited or was ejected while the scenario ran
  workerCrashed @9;           # ended by a signal or an exit code of its own
  workerStuck @10;            # did not stop within the bound after being told to
  spawnFailed @11;
  mailboxFull @12;            # an event did not fit; `dropped` counts them
  internal @13;
  imageIncomplete @14;        # the image's last file is missing, or it is another run's image
  workerSetupFailed @15;      # the kernel refused a setting of a worker (EPERM for FIFO), or took it in another way
  payloadFailed @16;          # could not be executed, did not end in time, or ended otherwise than it should
  schedulerNotDetached @17;   # was asked to end, but sched_ext did not become disabled in time
  teardownIncomplete @18;     # tasks or cgroups were left at the end, and named
  affinityChanged @19;        # somebody else changed where a worker may run
  settingRefused @20;         # a sysctl, a file or a kernel switch of the orders could not be written, or reads back
                              # as something else
}

struct GuestFailure {
  name @0 :GuestFailureName;
  message @1 :Text;           # with errno, path, pid, status
  step @2 :UInt32;
  cgroup @3 :Text;
  worker @4 :Text;
}

struct GuestFacts {
  release @0 :Text;           # uname -r
  cpusOnline @1 :UInt32;
  controllers @2 :Text;       # cgroup.controllers of the root
  schedExt @3 :Bool;          # /sys/kernel/sched_ext exists
  memTotalKib @4 :UInt64;
  uptimeMs @5 :UInt32;        # when init began
  llcCpulists @6 :List(Text); # what the kernel's sysfs says, per LLC in order of first CPU (index3/shared_cpu_list)
  nodeCpulists @7 :List(Text);
  coreCpulists @8 :List(Text); # as llcCpulists (topology/thread_siblings_list)
  packageIds @9 :List(UInt32); # of each online CPU (topology/physical_package_id)
  coreIds @10 :List(UInt32);   # of each online CPU, within its package (topology/core_id)
  nodes @11 :List(NodeFacts);  # node0, node1, ...
  memoryTiers @12 :List(Text); # nodes of each tier, fastest first; empty where the kernel has no tiers
  realTimeHints @13 :Bool;     # CPUID says KVM_HINTS_REALTIME (leaf 0x40000001, EDX bit 0); never without KVM
}

struct NodeFacts {
  memTotalKib @0 :UInt64;        # what is left of its memory after boot
  distances @1 :List(UInt32);    # to node0, node1, ...
  initiators @2 :List(UInt32);   # the nodes that reach its memory best (access0/initiators); empty without HMAT
}

struct HistogramBucket {
  # HDR-style: upperNs is the largest value that falls into the bucket; relative error <= 1/16.
  upperNs @0 :UInt64;
  count @1 :UInt64;
}

struct WorkerReport {
  step @0 :UInt32;
  cgroup @1 :Text;
  work @2 :Text;               # WorkSpec name
  index @3 :UInt32;            # within its work group
  pid @4 :UInt32;              # of its process
  iterations @5 :UInt64;
  workUnits @6 :UInt64;
  wallNs @7 :UInt64;
  cpuNs @8 :UInt64;            # CLOCK_THREAD_CPUTIME_ID over the work loop
  usageValid @42 :Bool = true; # false: cpuNs, switches and faults are not known, of a thread whose process died
  runDelayNs @9 :UInt64;       # /proc/self/schedstat field 2, delta over the work loop
  runDelayValid @10 :Bool;     # false: the kernel gave no schedstat
  timeslices @11 :UInt64;      # /proc/self/schedstat field 3, delta
  voluntarySwitches @12 :UInt64;
  involuntarySwitches @13 :UInt64;
  migrations @14 :UInt64;      # CPU changes seen by the worker: at every checkpoint, and before and after every wait
  cpusSeen @15 :List(UInt32);
  firstSeenNs @46 :List(UInt64); # CLOCK_MONOTONIC when it was first seen on each of them
  cpuset @16 :List(UInt32);    # where it was allowed to run; empty = anywhere
  maxGapNs @17 :UInt64;        # longest time between two checkpoints of a worker that wanted to run
  maxGapAtNs @18 :UInt64;      # CLOCK_MONOTONIC of its end
  maxGapCpu @19 :UInt32;       # CPU after the gap
  wakeLatency @20 :List(HistogramBucket);
  wakeSamples @21 :UInt64;
  maxWakeNs @43 :UInt64;       # the longest of wakeLatency, exact; of the last one if several are as long
  maxWakeAtNs @44 :UInt64;     # CLOCK_MONOTONIC of its end
  maxWakeCpu @45 :UInt32;      # CPU after it
  exited @22 :WorkerExit;
  tid @23 :UInt32;             # of its thread; the pid in a process of its own
  opDuration @24 :List(HistogramBucket); # how long one operation took; which, `ktstr work-type list` says
  opSamples @25 :UInt64;
  events @26 :UInt64;          # what its type counts besides iterations (`ktstr work-type list`)
  minorFaults @27 :UInt64;
  majorFaults @28 :UInt64;
  errors @29 :UInt64;          # calls of the work loop that failed; it went on
  lastErrno @30 :UInt32;       # of the last of them
  lastErrorCall @31 :Text;     # which call that was
  kernelMigrations @32 :UInt64; # se.nr_migrations of /proc/thread-self/sched, delta: also those between checkpoints
  kernelMigrationsValid @33 :Bool; # false: the kernel does not say
  numaPagesMigrated @34 :UInt64; # by NUMA balancing, of this worker (/proc/thread-self/sched), delta
  numaPagesMigratedValid @38 :Bool; # false: the kernel does not say
  numaPages @35 :List(NodePages); # where the memory that its type works on was at the end (move_pages)
  stopNs @37 :UInt64;          # from being told to stop to the end of its loop; 0: it did not end by itself
  stopDelayNs @40 :UInt64;     # of stopNs, that it was runnable but not running; a wait that had begun before counts whole
  stopDelayValid @41 :Bool;    # false: not known; so it is of more workers at a time than guest/agent/progress.h reads
  baseline @39 :Bool;          # of the second run of the scenario, under EEVDF (GuestOrders.baseline)
  detail @36 :Text;            # how it ran where a type has a choice: "vec256", "tmpfs file, O_DIRECT"
}

struct NodePages {
  node @0 :UInt32;
  pages @1 :UInt64;            # of 4 KiB
}

struct WorkerExit {
  union {
    clean @0 :Void;            # reported and exited 0
    code @1 :Int32;
    signal @2 :UInt32;
    stuck @3 :Void;            # killed after the stop bound; counters are from its shared page
  }
}

struct PayloadReport {
  step @0 :UInt32;
  name @1 :Text;
  cgroup @2 :Text;             # where it was at its end
  exited @3 :WorkerExit;       # clean: exit code 0; never `stuck`
  killed @4 :Bool;             # by us: an operation, or the end of its step
  output @5 :Text;             # stdout and stderr, the last 64 KiB, lossy UTF-8
  wallNs @6 :UInt64;
}

struct GuestEvent {
  atNs @0 :UInt64;             # guest CLOCK_MONOTONIC
  union {
    ready @1 :GuestFacts;      # init is up, cgroups are mounted
    schedulerStarted :group {
      pid @2 :UInt32;
      name @20 :Text;          # as SchedulerOrders.name
    }
    schedulerAttached :group {
      opsName @3 :Text;
      afterMs @4 :UInt32;
    }
    schedulerExited :group {
      exitCode @5 :Int32;      # -1 if it was killed by `signal`
      signal @6 :UInt32;
      expected @7 :Bool;       # we asked it to stop
    }
    schedulerLog @8 :Text;     # its stdout and stderr, in pieces, lossy UTF-8
    scenarioStarted @9 :Void;
    stepStarted :group {
      step @10 :UInt32;
      workers @11 :UInt32;
    }
    stepEnded :group {
      step @12 :UInt32;
    }
    opApplied :group {
      step @13 :UInt32;
      op @14 :UInt32;
      detail @15 :Text;
    }
    worker @16 :WorkerReport;
    failure @17 :GuestFailure;
    scenarioEnded @18 :Void;
    done :group {              # last event of every run that reaches its end; the guest powers off after it
      dropped @19 :UInt64;     # events that did not fit into the mailbox
    }
    schedulerDetached :group { # after an ordered detach: sched_ext is disabled
      opsName @21 :Text;
      afterMs @22 :UInt32;     # since it was asked to end
    }
    payloadStarted :group {
      name @23 :Text;
      pid @24 :UInt32;
      cgroup @25 :Text;
    }
    payloadEnded @26 :PayloadReport;
    snapshotRequested @27 :Text; # the name; the guest waits until the host lets it go on
    watchRequested @28 :Text;    # the expression
    baselineStarted @29 :Void;   # the scheduler is detached, the scenario begins again
    schedulerStats :group {      # what the scheduler says of itself, once for each time that the host asks for it
      request @35 :UInt32;       # as counted in the mailbox
      answer @36 :Text;          # the line of JSON that its socket gave; empty: none, because of
      problem @37 :Text;
    }
    writeRequested :group {      # by the operation writeMap at this place; the guest waits until the host lets it go on
      step @38 :UInt32;
      op @39 :UInt32;
    }
  }
  progress @30 :List(GroupProgress);
  # When it was posted, of what changes how work runs: a step's start and end, an operation, a scheduler's or payload's
  # coming or going, the baseline's start. Of stepStarted: before its own workers are let go.
  beganNs @31 :UInt64;         # of a step's start and end and an operation: CLOCK_MONOTONIC when it began. 0: at atNs
  before @32 :List(GroupProgress); # as progress, when it began: of an end before anybody was told to stop
  # How the host's clock compares (orchestrator/guest_clock.h): at hostReadSeenNs, of the guest's CLOCK_MONOTONIC, the
  # guest had seen for the first time that the host had read this much of the mailbox's ring.
  hostReadBytes @33 :UInt64;
  hostReadSeenNs @34 :UInt64;  # 0: nothing read yet
}

struct GroupProgress {
  # What the workers of one work group that are not reported yet have done up to now, since each was made. Where there are
  # very many groups, those of a cgroup are one, without step and work; or all of them, as cgroup "*"
  # (guest/agent/progress.h).
  step @0 :UInt32;
  cgroup @1 :Text;             # that they were made for
  work @2 :Text;
  workers @3 :UInt32;          # that have not ended
  iterations @4 :UInt64;
  cpuNs @5 :UInt64;            # /proc/TID/schedstat
  runDelayNs @6 :UInt64;
  timesValid @7 :Bool;         # false: cpuNs and runDelayNs are not known
}
