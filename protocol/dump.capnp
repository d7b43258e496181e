# What the scheduler of a guest looked like at one moment, read from the guest's memory.
@0xb7a1c2f0d5e6130b;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

enum DumpReason {
  demand @0;      # `ktstr snapshot`, `ktstr-monitor dump`
  operation @1;   # Op.snapshot of the scenario
  watch @2;       # a value changed that Op.watch or `ktstr-monitor watch` named
  periodic @3;    # of a series (--snapshots)
  violation @4;   # what the monitor is judged by was violated for as long as counts
  failure @5;     # the scheduler or the kernel failed, or the run is about to fail
}

struct Absent {
  # A section, or a part of one, that is not there. An empty list without one of these was looked at and is empty.
  section @0 :Text;             # "dsqs", "maps", "map nr_queued", "task 17"
  reason @1 :Text;              # with the evidence: a symbol, a type's member, an address
}

struct Dump {
  name @0 :Text;                # [A-Za-z0-9_.-], 1..64 bytes
  reason @1 :DumpReason;
  atNs @2 :UInt64;              # host CLOCK_MONOTONIC when the copy began
  frozenNs @3 :UInt64;          # for so long all vCPUs stood still; 0: they ran meanwhile
  notFrozen @4 :Text;           # why they ran; empty: they did not
  copyNs @5 :UInt64;            # to copy out of the guest what is rendered here
  renderNs @6 :UInt64;
  jiffies @7 :UInt64;           # guest jiffies_64
  scheduler @8 :SchedulerState;
  dsqs @9 :List(DsqState);      # local ones in the order of their CPUs, global ones, then the scheduler's own by id
  cpus @10 :List(CpuState);
  tasks @11 :List(TaskState);   # by pid
  cgroups @12 :List(CgroupState);
  maps @13 :List(MapState);     # of the attached scheduler, by id
  events @14 :List(EventCount); # SCX_EV counters, all CPUs together
  absent @15 :List(Absent);
  registers @16 :List(CpuRegisters); # of each vCPU while frozen; empty: see absent
  schedulerStats @17 :Text;     # JSON of the scheduler's own stats socket, asked for before the freeze; empty: see absent
}

struct SchedulerState {
  state @0 :Text;               # enum scx_enable_state without its prefix, lower case: "enabled"; empty: not readable
  opsName @1 :Text;             # empty: none attached
  opsFlags @2 :UInt64;
  address @3 :UInt64;           # of struct scx_sched; 0: this kernel has none, or none is attached
  aborting @4 :Bool;
  bypassDepth @5 :Int32;
  watchdogTimeoutMs @6 :Float64 = nan;
  exit @7 :ExitInfo;
  hierarchy @8 :List(HierarchyScheduler); # the attached one and its sub-schedulers; empty: see absent
}

struct HierarchyScheduler {
  # One of the struct scx_sched of a kernel with sub-schedulers, each of which has a cgroup and what is below it.
  address @0 :UInt64;
  parent @1 :UInt64;            # address of the scheduler it was attached below; 0: none, it is the root
  level @2 :Int32;              # below the root
  opsName @3 :Text;
  cgroup @4 :Text;              # path; empty: not readable
  exitKind @5 :Int64;           # enum scx_exit_kind; 0: it runs
  exitKindName @6 :Text;        # "SCX_EXIT_PARENT"
  incomplete @7 :Text;          # why some of it has no meaning; empty: all was read
}

struct ExitInfo {
  # struct scx_exit_info of the attached scheduler, or of the last one where the kernel keeps it.
  kind @0 :Int64;
  kindName @1 :Text;            # enum scx_exit_kind: "SCX_EXIT_ERROR_STALL"
  exitCode @2 :Int64;
  reason @3 :Text;
  message @4 :Text;
  backtrace @5 :List(Text);     # "scx_bpf_error_bstr+0x75"
  dump @6 :Text;                # the kernel's own debug dump, as far as it is there
  exitCpu @7 :Int32 = -1;       # that it was claimed on; -1: of kernels that do not keep it, see absent, or none
}

enum DsqKind {
  local @0;                     # of a CPU
  global @1;                    # SCX_DSQ_GLOBAL, one for each node where the kernel has it so
  bypass @2;                    # of a CPU, of kernels that have it
  user @3;                      # made by the scheduler
}

struct DsqState {
  kind @0 :DsqKind;
  id @1 :UInt64;
  cpu @2 :Int32 = -1;           # of a local or bypass DSQ
  node @3 :Int32 = -1;          # of a global one
  nr @4 :UInt32;                # what the kernel counts
  seq @5 :UInt32;
  tasks @6 :List(QueuedTask);   # in the order of the list
  incomplete @7 :Text;          # why the list ends early; empty: it is whole
  address @8 :UInt64;
}

struct QueuedTask {
  pid @0 :Int32;
  comm @1 :Text;
  vtime @2 :UInt64;             # scx.dsq_vtime
  sliceNs @3 :UInt64;
}

struct CpuState {
  cpu @0 :UInt32;
  nrRunning @1 :UInt32;
  scxNrRunning @2 :UInt32;
  scxFlags @3 :UInt32;
  flagNames @4 :List(Text);     # of enum scx_rq_flags, without SCX_RQ_
  cpuReleased @5 :Bool;
  clock @6 :UInt64;             # rq->clock, ns
  currPid @7 :Int32;
  currComm @8 :Text;
  runnable @9 :List(Int32);     # pids of rq->scx.runnable_list
  kicked @10 :List(UInt32);     # CPUs of scx.cpus_to_kick
  incomplete @11 :Text;
}

struct TaskState {
  pid @0 :Int32;
  tgid @1 :Int32;
  comm @2 :Text;
  state @3 :Text;               # "R", "S", "D", ... as ps has it
  cpu @4 :Int32 = -1;           # the last one it was on
  schedClass @5 :Text;          # "ext", "fair", "rt", "dl", "idle", "stop"
  policy @6 :UInt32;
  weight @7 :UInt32;            # scx.weight
  sliceNs @8 :UInt64;
  vtime @9 :UInt64;
  scxFlags @10 :UInt32;
  flagNames @11 :List(Text);    # of enum scx_ent_flags, without SCX_TASK_
  taskState @12 :Text;          # enum scx_task_state: "ENABLED"
  dsq @13 :UInt64;              # id of the DSQ that it is on
  onDsq @14 :Bool;
  stickyCpu @15 :Int32 = -1;
  holdingCpu @16 :Int32 = -1;
  runnableMs @17 :Float64 = nan; # since it became runnable, of tasks that wait
  allowed @18 :Text;            # CPUs, "0-3"
  sumExecNs @19 :UInt64;
  cgroup @20 :Text;             # path
  disallowed @21 :Bool;
  incomplete @22 :Text;         # why some of it has no meaning; empty: all that absent does not name was read
}

struct CgroupState {
  path @0 :Text;                # "/"
  id @1 :UInt64;
  weight @2 :UInt32;            # task_group.scx_weight or scx.weight
  scxFlags @3 :UInt32;
  incomplete @4 :Text;          # why some of it has no meaning; empty: all that absent does not name was read
}

struct MapState {
  id @0 :UInt32;
  name @1 :Text;
  type @2 :Text;                # enum bpf_map_type: "BPF_MAP_TYPE_ARRAY"
  maxEntries @3 :UInt32;
  valueBytes @4 :UInt32;
  entries @5 :List(MapEntry);
  incomplete @6 :Text;          # why there are fewer than there should be
}

struct MapEntry {
  # Of local storage the key is whose it is: a task as {"pid":17,"comm":"sh"}, a cgroup as its path, else an address.
  key @0 :Text;                 # JSON, by the map's BTF; of an array its index
  cpu @1 :Int32 = -1;           # of per-CPU maps
  value @2 :Text;               # JSON, by the map's BTF, as `ktstr-monitor map` prints it; arena pointers followed once
}

struct EventCount {
  name @0 :Text;                # "SCX_EV_SELECT_CPU_FALLBACK"
  count @1 :Int64;
}

struct CpuRegisters {
  rip @0 :UInt64;
  symbol @1 :Text;              # "pv_native_safe_halt+0xb"; empty: of no kernel function
  cr3 @2 :UInt64;
}
