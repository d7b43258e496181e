# A scenario is data: what to build in the guest, what to run, how long, and what must hold.
# Its JSON form (protocol/json.h) is what scenario files contain: field names as here, a union as an object with the
# chosen member's name, a Void member as null. Units are part of the names.
@0xb7a1c2f0d5e61302;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

struct Scenario {
  name @0 :Text;               # [a-z0-9_-], 1..64 bytes
  description @1 :Text;
  durationMs @2 :UInt32 = 2000; # what a hold's fraction refers to; 1..3600000
  steps @3 :List(Step);        # run in order; at least one
  assertions @4 :Assertions;
}

struct Step {
  # Creates its cgroups with their workers, applies its operations, holds, then collects every worker's report and
  # removes its cgroups. Workers start together once all are in place.
  name @0 :Text;
  cgroups @1 :List(CgroupDef);
  ops @2 :List(Op);
  hold @3 :HoldSpec;
}

struct HoldSpec {
  union {
    fraction @0 :Float64 = 1.0;  # of Scenario.durationMs; > 0, finite
    fixedMs @1 :UInt32;          # > 0
  }
}

struct CgroupDef {
  name @0 :Text;             # relative path below the scenario's root cgroup, "a" or "a/b"; components [A-Za-z0-9_.-]
  cpuset @1 :CpusetSpec;
  cpuWeight @2 :UInt32;      # cpu.weight 1..10000; 0 = leave the kernel's default
  work @3 :List(WorkSpec);   # at least one
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

struct WorkSpec {
  # A group of identical workers, each a forked process.
  name @0 :Text;                # optional; defaults to the work type's name
  workers @1 :UInt32 = 1;       # > 0; a multiple of the type's group size
  type @2 :import "work_type.capnp".WorkType;
  nice @3 :Int8;                # -20..19
  affinity @4 :List(UInt32);    # CPUs; empty = inherit the cgroup's cpuset
  cloneMode @5 :CloneMode;
}

enum CloneMode {
  fork @0;                      # every worker is a process
  thread @1;                    # the workers are threads of one process of their own
}

struct Op {
  union {
    addCgroup @0 :Text;         # an empty cgroup, removed at the end of the step
    removeCgroup @1 :Text;      # stops its workers, whose reports count, and removes it
    setCpuset :group {
      cgroup @2 :Text;
      cpuset @3 :CpusetSpec;
    }
    stopCgroup @4 :Text;        # stops its workers, whose reports count; the cgroup stays
    sleepMs @5 :UInt32;
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
  notStarved @0 :Choice;                   # a worker without one finished unit of work fails
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
}
