# The machine: what the orchestrator prepares, what a VMM runs, and the capabilities a VMM hands out.
#
# Authority is a capability: the bootstrap object of each socket is the whole authority of a connection.
#   control  -> Vmm       (0600)  boots and ends machines
#   observe  -> Observer  (0660)  reads guest memory, may freeze under a lease
#   gate     -> WriteGate (0600)  writes inside granted ranges, each write logged
@0xb7a1c2f0d5e61301;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("ktstr::rpc");

interface Fd {}
# A capability that exists to carry one file descriptor (capnp::Capability::Client::getFd()).
# Sender: keep the capability alive until the reply arrives. One Fd per message. Receiver: check what you got
# (fstat, seals, socket type) before use.

enum MemoryKind {
  # The memory of a machine, in the order of its linear address space: all of ram, then all of base, then all of
  # mailbox. Linear address L is guest-physical L below 2 GiB and L + 2 GiB from there on; only ram may cross that split.
  ram @0;       # Guest RAM: memfd mapped shared and writable; sealed F_SEAL_FUTURE_WRITE once mapped. n * 2 MiB.
  base @1;      # Shared initramfs base: read-only source, same pages in every VM; the guest must not write it. n * 4 KiB.
  mailbox @2;   # Guest/orchestrator mailbox: a memfd, mapped shared and writable, reserved in e820. n * 4 KiB.
}

struct CpuTopology {
  # LLCs in all, cores per LLC, threads per core. vCPUs = llcs * coresPerLlc * threadsPerCore; vCPU i has thread
  # i % t, core (i / t) % c, LLC i / (t*c). NUMA nodes are the business of the ACPI tables alone.
  llcs @0 :UInt32;
  coresPerLlc @1 :UInt32;
  threadsPerCore @2 :UInt32;
}

struct VcpuState {
  # Register state in which a vCPU begins. The boot vCPU is runnable in 64-bit mode with the given tables; every other
  # one waits for INIT/SIPI, and only its apicId and cpuid count.
  apicId @0 :UInt32;
  runnable @1 :Bool;
  rip @2 :UInt64;    # 64-bit entry point (GPA, identity mapped)
  rsi @3 :UInt64;    # boot_params GPA (Linux x86-64 boot protocol)
  rsp @4 :UInt64;    # top of a scratch stack
  cr3 @5 :UInt64;    # GPA of the PML4 that identity-maps the first 4 GiB
  gdtGpa @6 :UInt64; # GPA of the GDT; selector 0x10 is 64-bit code, 0x18 is data
  gdtLimit @7 :UInt16;
  cpuid @8 :List(CpuidEntry);
  # Its own leaves, besides those of the machine: those that tell its APIC id, for every vCPU. That they tell it right
  # is the preparer's business; a VMM checks each as it does the machine's.
}

struct CpuidEntry {
  # One CPUID leaf for hardware accelerators; ignored under TCG, where the engine derives it from the topology.
  function @0 :UInt32;
  index @1 :UInt32;
  indexed @2 :Bool;
  eax @3 :UInt32;
  ebx @4 :UInt32;
  ecx @5 :UInt32;
  edx @6 :UInt32;
}

struct Msr {
  index @0 :UInt32;
  value @1 :UInt64;
}

struct PreparedMachine {
  # All that a VMM needs to run a machine besides its memory. The VMM parses no file; it checks every number here before
  # use.
  #
  # On KVM a machine with an APIC id above 254 has an I/O APIC with destinations of 15 bits
  # (KVM_FEATURE_MSI_EXT_DEST_ID) and neither 8259s nor an 8254; any other has KVM's own of all three.
  topology @0 :CpuTopology;
  vcpus @1 :List(VcpuState);          # exactly one per vCPU; exactly one runnable, index 0
  cpuid @2 :List(CpuidEntry);         # what all vCPUs have in common; with a vCPU's own at most 256, no two alike
  msrs @3 :List(Msr);                 # IA32_MISC_ENABLE (0x1a0) and IA32_MTRR_DEF_TYPE (0x2ff) alone; all vCPUs alike
  placement @4 :Placement;
}

struct Placement {
  # Where on the host vCPUs run, and what they do when they have nothing to do. For hardware accelerators; TCG refuses
  # all but the defaults by name, except haltPoll, which means nothing there. Nothing is silently left out: boot() fails
  # by name if the host refuses any of it, or says otherwise when it is read back.
  cpus @0 :List(UInt16);   # the host CPU to which each vCPU's thread is pinned; empty: none is
  priority @1 :UInt8;      # SCHED_FIFO priority of the vCPU threads, 1 to 98; 0: scheduled as the VMM is
  keepIdle @2 :Bool;       # HLT and PAUSE do not leave the guest: an idle vCPU keeps its host CPU
  haltPoll :union {        # how long KVM polls before a halted vCPU's thread sleeps
    asHost @3 :Void;       # the kvm module's parameter
    nanos @4 :UInt32;      # at most 1 s; 0: not at all
  }
}

struct VmmInfo {
  accelerator @0 :Text;   # "tcg" or "kvm"
  engine @1 :Text;        # for example "QEMU 10.0.2, thread=multi"
  maxVcpus @2 :UInt32;
  cpuid @3 :List(CpuidEntry);
  # Hardware accelerators: what a guest may be told (KVM_GET_SUPPORTED_CPUID), for the preparer to choose from.
}

enum ExitKind {
  reset @0;          # guest asked for a reset (keyboard controller, triple fault): the normal end of a test
  powerOff @1;       # guest powered off
  stopped @2;        # Machine.stop() or the control connection went away
  engineFailed @3;   # the engine (QEMU, KVM) failed; detail says how
  engineKilled @4;   # the engine was killed by a signal from outside
}

struct ExitReason {
  kind @0 :ExitKind;
  detail @1 :Text;    # evidence: exit status, signal name, registers, last words of the engine's stderr
}

struct GpaRange {
  gpa @0 :UInt64;
  size @1 :UInt64;
}

interface Vmm {
  # Bootstrap object of the control socket. Held by the orchestrator only. When the connection goes away every
  # machine booted through it is stopped and its memory released.
  info @0 () -> (info :VmmInfo);
  # Any time, any number of times.
  giveMemory @1 (kind :MemoryKind, fd :Fd) -> ();
  # Before boot(): ram always, base and mailbox if the machine has them; of two of a kind the later one counts. The
  # size of the object is the size of the memory. ram and mailbox must be memfds that allow sealing, base a regular
  # file or memfd opened read-only.
  boot @2 (machine :PreparedMachine) -> (machine :Machine);
  # Once per VMM process. Creates the machine, maps and seals its memory; no guest instruction has run when it
  # returns.
}

interface Machine {
  # Held by the orchestrator. Dropping it, or disconnecting, stops the machine. It runs once: a reset by the guest ends
  # it, and there is none from outside; another VMM is there in milliseconds.
  start @0 ();
  # Once. Lets the boot vCPU run.
  stop @1 ();
  # Any number of times; returns when the machine is gone.
  freeze @2 () -> (micros :UInt32);
  # Stops all vCPUs; returns when all are parked, with the time it took. Counted: each freeze needs one thaw.
  thaw @3 ();
  wait @4 () -> (exit :ExitReason);
  # Returns when the machine has ended, however it ended. Any number of callers.
  console @5 () -> (stream :Fd);
  # The host end of the first serial port: a stream socket. Once.
  doorbell @6 () -> (stream :Fd);
  # The host end of the second serial port: a stream socket, one byte per ring of the bell. Once.
  observer @7 () -> (observer :Observer);
  # A capability with less authority, to be passed on. Any number of times.
  writeGate @8 (ranges :List(GpaRange), publish :Bool) -> (gate :WriteGate);
  # A gate that may write inside `ranges` (which must lie in RAM). With publish, connections to the gate socket
  # get this gate as their bootstrap object; until then they get one that refuses every write.
}

struct RamRegion {
  gpa @0 :UInt64;
  size @1 :UInt64;
  offset @2 :UInt64;  # into the RAM descriptor
}

interface Observer {
  # Bootstrap object of the observe socket. Held by monitors, any number of them. Waits for boot() if there is no
  # machine yet; fails with "no machine" after the machine has ended.
  memory @0 () -> (fd :Fd, regions :List(RamRegion));
  # The RAM memfd, sealed F_SEAL_FUTURE_WRITE: a writable mapping fails with EPERM in the kernel.
  registers @1 (vcpu :UInt32) -> (registers :Registers);
  # While frozen. Refused by name where the engine cannot tell.
  freezeLease @2 () -> (lease :FreezeLease);
  # Freezes the machine until the lease is dropped or 1 s has passed, whichever is first.
  vcpuTimes @3 () -> (nanos :List(UInt64));
  # Host CPU time used by each vCPU so far. Refused by name where the engine cannot tell.
}

struct Registers {
  rip @0 :UInt64;
  cr3 @1 :UInt64;
  lstar @2 :UInt64;
}

interface FreezeLease {}
# Dropping it thaws the machine.

interface WriteGate {
  # Held by whoever needs to write a few words of guest memory. Every write is logged by the VMM.
  write @0 (gpa :UInt64, bytes :Data) -> ();
  # All or nothing; refused outside the granted ranges. At most 64 KiB a call.
}
