# What workers do: the vocabulary of WorkSpec.type.
@0xb7a1c2f0d5e61309;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

struct WorkType {
  # What a worker does, again and again. `ktstr work-type list` prints all of this with what each measures.
  #
  # A *group* is the number of workers that work with each other; WorkSpec.workers is a multiple of it, and each group
  # begins again with position 0. "Spin n" is n units of work of a pause hint each. Nothing but bursty, idleChurn and
  # what says so sleeps on its own. A wake latency sample goes from the waker's call, or from the end of a sleep, to
  # running; never does it include the time a partner takes to think. A yield is no sleep: time behind others in the
  # queue is a gap.
  #
  # Ranges go by the unit in a name: ...Iters 1..4294967295, ...Us 1..3600000000, ...Ms 1..3600000, ...Kib 4..1048576;
  # others are given. Zero is allowed where it says so. What a worker may not do (a policy, a nice value) is
  # counted in WorkerReport.errors, and it goes on.
  union {
    # ---- spinning ----
    spinWait :group {           # busy loop with a pause hint
      spinIters @0 :UInt32 = 1024;
    }
    yieldHeavy @1 :Void;        # sched_yield after every unit of work
    # ---- sleeping ----
    bursty :group {             # spins for burstUs, then sleeps sleepUs; wake latency = wake-up later than asked
      burstUs @2 :UInt32 = 50000;
      sleepUs @3 :UInt32 = 100000;
    }
    # ---- waking each other ----
    futexPingPong :group {      # pairs: spin, wake the partner by futex, wait
      spinIters @4 :UInt32 = 1024;
    }
    pipeIo :group {             # pairs: spin, write a byte to the partner's pipe, wait for its byte
      burstIters @5 :UInt32 = 1024;
    }
    mixed :group {              # spin, then sched_yield
      spinIters @6 :UInt32 = 1024;
    }
    aluHot :group {             # eight independent chains of multiplications, 65536 steps an iteration; no system call
      width @7 :AluWidth;
    }
    smtSiblingSpin :group {     # pairs: spin. Means something on the two threads of a core: give that affinity;
      spinIters @8 :UInt32 = 1024; # a topology without SMT is refused
    }
    ipcVariance :group {        # periodIters times: a chain of multiplications (much done per cycle), then random
      hotIters @9 :UInt32 = 100000;  # read-modify-writes in 512 KiB (little done per cycle)
      coldIters @10 :UInt32 = 1024;
      periodIters @11 :UInt32 = 64;
    }
    # ---- a disk: a file on the guest's tmpfs, with the time of a device (guest/work/disk.h) ----
    ioSyncWrite :group {        # O_SYNC: 16 writes of 4 KiB into a stripe of its own, then fdatasync
      deviceUs @12 :UInt32 = 100;  # what the disk takes, slept; 0..3600000000
    }
    ioRandRead :group {         # O_DIRECT: reads 4 KiB at a random place
      deviceUs @13 :UInt32 = 100;  # 0..3600000000
    }
    ioConvoy :group {           # O_DIRECT: writes 4 KiB sequentially, reads 4 KiB at random; fdatasync every 16th time
      deviceUs @14 :UInt32 = 100;  # 0..3600000000
    }
    idleChurn :group {          # short bursts and short sleeps: in and out of idle
      burstUs @15 :UInt32 = 1000;
      sleepUs @16 :UInt32 = 5000;
      preciseTiming @17 :Bool;  # timer slack of 1 ns instead of the kernel's 50 us, which counts as wake latency
    }
    futexFanOut :group {        # 1 + fanOut: all spin, then position 0 wakes the others, who wait for it
      fanOut @18 :UInt32 = 4;   # 1..1024
      spinIters @19 :UInt32 = 1024;
    }
    # ---- caches and memory ----
    cachePressure :group {      # 1024 read-modify-writes over a buffer of its own
      sizeKib @20 :UInt32 = 32;
      stride @21 :UInt32 = 64;  # bytes, 1..size
    }
    cacheYield :group {         # as cachePressure, then sched_yield
      sizeKib @22 :UInt32 = 32;
      stride @23 :UInt32 = 64;  # bytes, 1..size
    }
    cachePipe :group {          # as pipeIo, with read-modify-writes over a buffer (64 bytes apart) instead of spinning
      sizeKib @24 :UInt32 = 32;
      burstIters @25 :UInt32 = 1024;
    }
    sequence :group {           # the phases in order, then again
      phases @26 :List(WorkPhase);  # 1..64
    }
    # ---- what a task is, changed all the time (churn: at random, sweep: in order) ----
    forkExit @27 :Void;         # forks a child that exits at once, waits for it; wake latency from the exit call
    niceSweep @28 :Void;        # spin 512, the next nice value of -20..19, sched_yield; the old one at the end
    affinityChurn :group {      # spin, then only a random CPU of those it may use, sched_yield
      spinIters @29 :UInt32 = 1024;
    }
    policyChurn :group {        # spin, then the next of SCHED_OTHER, BATCH, IDLE, FIFO 1, RR 1, sched_yield
      spinIters @30 :UInt32 = 1024;
    }
    numaMigrationChurn :group { # runs on the CPUs of the next node, sleeps a period, spin 256. At least two nodes
      periodMs @31 :UInt32 = 100;
    }
    cgroupChurn :group {        # moves to the next of `groups` cgroups, sleeps a cycle, spin 256. They are siblings of
      groups @32 :UInt32 = 2;   # its own, NAME-churn-I, made and removed with it and with its cpuset. 2..64.
      cycleMs @33 :UInt32 = 100; # Processes alone: the kernel moves no single thread
    }
    fanOutCompute :group {      # 1 + fanOut: position 0 wakes all others; each sleeps, then multiplies matrices that
      fanOut @34 :UInt32 = 4;   # fill its cache footprint. 1..1024
      cacheFootprintKib @35 :UInt32 = 256;
      operations @36 :UInt32 = 5;  # multiplications, 1..4294967295
      sleepUs @37 :UInt32 = 100;   # 0..3600000000
    }
    asymmetricWaker :group {    # pairs: position 0 spins and wakes position 1, which spins; each in its own class
      wakerClass @38 :WorkerClass;
      wakeeClass @39 :WorkerClass;
      burstIters @40 :UInt32 = 1024;
    }
    wakeChain :group {          # `depth`: a ring in which each works and wakes the next
      depth @41 :UInt32 = 4;    # 2..1024
      wake @42 :WakeMechanism;
      workPerHopUs @43 :UInt32 = 100;
    }
    epollStorm :group {         # producers write to one eventfd in bursts, consumers wait for it in one epoll
      producers @44 :UInt32 = 1;      # 1..1024
      consumers @45 :UInt32 = 2;      # 1..1024
      eventsPerBurst @46 :UInt32 = 32; # 1..65536
    }
    thunderingHerd :group {     # 1 + waiters: position 0 sleeps, then wakes all others at once
      waiters @47 :UInt32 = 7;     # 1..1024
      batches @48 :UInt32 = 1000;  # after so many wake-ups all rest until they are stopped; 1..4294967295
      interBatchMs @49 :UInt32 = 5;
    }
    pageFaultChurn :group {     # writes to random pages of a mapping, gives them all back, spin
      regionKib @50 :UInt32 = 4096;
      touchesPerCycle @51 :UInt32 = 256;  # 1..4294967295
      spinIters @52 :UInt32 = 64;
    }
    numaWorkingSetSweep :group { # moves its mapping to the next node, writes to every page, sleeps
      regionKib @53 :UInt32 = 4096;
      sweepPeriodMs @54 :UInt32 = 100;
      targetNodes @55 :List(UInt32);  # empty: the memory stays where it is
    }
    # ---- locks and queues ----
    mutexContention :group {    # spin, take the group's lock, spin, release it
      contenders @56 :UInt32 = 4;     # 2..1024
      holdIters @57 :UInt32 = 256;
      workIters @58 :UInt32 = 1024;
    }
    priorityInversion :group {  # high (FIFO 70) and low (FIFO 30) share a lock; medium (FIFO 50) spins 20 ms and rests
      # 10 ms; high rests 1 ms between two locks: so low can have the lock when they come. Bites when all are on one CPU.
      high @59 :UInt32 = 1;     # 1..64
      medium @60 :UInt32 = 1;   # 0..64
      low @61 :UInt32 = 1;      # 1..64
      holdIters @62 :UInt32 = 4096;   # of low
      workIters @63 :UInt32 = 1024;   # between two locks; and while high holds it
      piMode @64 :FutexLockMode;
    }
    producerConsumerImbalance :group { # a bounded queue that is filled faster than it is emptied, or slower
      producers @65 :UInt32 = 2;       # 1..1024
      consumers @66 :UInt32 = 1;       # 1..1024
      produceRateHz @67 :UInt32 = 1000;    # of each producer, 1..1000000
      consumeIters @68 :UInt32 = 4096;
      queueDepthTarget @69 :UInt32 = 1024; # 2..65536
    }
    # ---- signals and real time ----
    signalStorm :group {        # pairs: signal the partner, spin
      signalsPerIter @70 :UInt32 = 16;  # 1..65536
      workIters @71 :UInt32 = 1024;
    }
    preemptStorm :group {       # 1 + cfsWorkers: position 0 (FIFO 1) spins and sleeps in turn, the others spin
      cfsWorkers @72 :UInt32 = 2;      # 1..1024
      rtBurstIters @73 :UInt32 = 1024;
      rtSleepUs @74 :UInt32 = 1000;
    }
    rtStarvation :group {       # the first rtWorkers (FIFO) and the others spin and never sleep
      rtWorkers @75 :UInt32 = 1;       # 1..1024
      cfsWorkers @76 :UInt32 = 1;      # 1..1024
      rtPriority @77 :UInt32 = 50;     # 1..99
      burstIters @78 :UInt32 = 1024;
    }
    custom :group {             # a function of the author's, registered by this name (guest/work/worker.h)
      name @79 :Text;           # [A-Za-z0-9_.-], 1..64 bytes
      program @80 :Text;        # whose function it is: path on the host, or a name looked up in PATH; a GoogleTest
                                # program that links libktstr, packed into the guest with its libraries. Not with pcomm
    }
  }
}

struct WorkPhase {
  # For so many microseconds, 1..3600000000:
  union {
    spinUs @0 :UInt32;
    sleepUs @1 :UInt32;
    yieldUs @2 :UInt32;         # sched_yield again and again
    ioUs @3 :UInt32;            # 64 KiB to the disk and 100 us of waiting for it, again and again
    aluHot :group {
      width @4 :AluWidth;
      forUs @5 :UInt32;
    }
  }
}

enum AluWidth {
  # Bits of a multiplication. A CPU without the width asked for runs the widest it has below; the report says which.
  widest @0;
  scalar @1;
  vec128 @2;
  vec256 @3;
  vec512 @4;
  amx @5;                       # never the choice of `widest`: the kernel must permit it
}

enum WorkerClass {
  cfs @0;                       # SCHED_OTHER: what the scheduler under test runs
  batch @1;
  idle @2;
  rt @3;                        # SCHED_FIFO 50
}

enum WakeMechanism {
  pipe @0;
  futex @1;
}

enum FutexLockMode {
  plain @0;                     # a futex as a lock; the owner's priority stays what it is
  pi @1;                        # FUTEX_LOCK_PI: the owner gets the priority of who waits
}
