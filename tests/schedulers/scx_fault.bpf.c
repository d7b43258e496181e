// A plain FIFO scheduler with one shared queue and 20 ms slices, and faults that can be switched on. Each is
// one mistake that real schedulers make; a harness must find it and name it.
#include <scx/common.bpf.h>

#include "scx_fault.h"

char _license[] SEC("license") = "GPL";

volatile enum Fault fault;      // can be written while it runs: a host that provokes a fault
const volatile u64 afterNs;     // the fault begins that long after the first task that is meant came
const volatile u64 durationNs;  // of one turn of the fault
const volatile s32 faultCpu;    // the CPU that starve-cpu and slow-dispatch are about
const volatile char commPrefix[COMM_BYTES];  // the tasks that are hit, and their cgroup; empty: any
const volatile char cgroupName[CGROUP_BYTES];

enum {
  SHARED_DSQ = 0,  // what is fine, in order of arrival
  LOST_DSQ = 1,    // nobody ever looks here
  SLOW_DSQ = 2,    // one task in durationNs
};

// The most turns of one loop, which last less than a second, and of loops.
enum { MAX_TURNS = 8 << 20, MAX_ROUNDS = 64 };

static u64 startNs;  // when that was; 0: it has not come
static u64 lastSlowNs;
static s32 victimPid;
static u64 burntUntilNs;

UEI_DEFINE(uei);

// For who looks at maps: kinds that the kernel tree's schedulers lack, filled once and then left alone.
struct Note {
  u32 number;  // from 1 on, also the key
  enum Fault about;
  s64 balance;
  char words[16];
};
enum { NOTES = 3 };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 8);
  __type(key, u32);
  __type(value, struct Note);
} notes SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} note_ring SEC(".maps");

static s32 writeNotes(void) {
  s32 number;
  bpf_for(number, 1, NOTES + 1) {
    const u32 key = (u32)number;
    struct Note note = {.number = key, .about = FAULT_STALL, .balance = -number, .words = "a note"};
    s32 error = bpf_map_update_elem(&notes, &key, &note, BPF_ANY);
    if (!error) error = bpf_ringbuf_output(&note_ring, &note, sizeof(note), 0);
    if (error) return error;
  }
  return 0;
}

static bool isOn(enum Fault which) {
  return fault == which && startNs != 0 && bpf_ktime_get_ns() - startNs >= afterNs;
}

// Whether `text`, of `bytes` bytes, begins with the prefix; with `whole`, whether it is the same.
static __always_inline bool matches(const char* text, const volatile char* prefix, u32 bytes, bool whole) {
  for (u32 i = 0; i < bytes; i++) {
    if (prefix[i] == '\0') return !whole || text[i] == '\0';
    if (text[i] != prefix[i]) return false;
  }
  return true;
}

// A task that was asked to be hit: by its comm, its cgroup, or both. Never a kernel thread.
static bool isMeant(struct task_struct* p) {
  char comm[COMM_BYTES] = {}, name[CGROUP_BYTES] = {};
  if (p->flags & PF_KTHREAD) return false;
  bpf_probe_read_kernel_str(comm, sizeof(comm), p->comm);
  if (!matches(comm, commPrefix, COMM_BYTES, false)) return false;
  if (cgroupName[0] == '\0') return true;
  bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(p, cgroups, dfl_cgrp, kn, name));
  return matches(name, cgroupName, CGROUP_BYTES, true);
}

// The first CPU other than `but` that the task may use (allowed) or may not use; -1: there is none.
static s32 firstCpu(struct task_struct* p, bool allowed, s32 but) {
  s32 cpu;
  bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
    if (cpu != but && bpf_cpumask_test_cpu(cpu, p->cpus_ptr) == allowed) return cpu;
  }
  return -1;
}

// Where a task is queued. SHARED_DSQ: nothing is wrong with it.
static u64 queueOf(struct task_struct* p) {
  if (startNs == 0 && isMeant(p)) startNs = bpf_ktime_get_ns();
  // One task, the first that is meant, never runs again.
  if (isOn(FAULT_STARVE_TASK) && isMeant(p)) {
    if (victimPid == 0) __sync_val_compare_and_swap(&victimPid, 0, p->pid);
    if (victimPid == p->pid) return LOST_DSQ;
  }
  // The tasks of a cgroup get a slice now and then.
  if (isOn(FAULT_STARVE_CGROUP) && isMeant(p)) return SLOW_DSQ;
  // A CPU gets no task but those that can run nowhere else: these never wait in the queue it will not look
  // at.
  if (fault == FAULT_STARVE_CPU && firstCpu(p, true, faultCpu) < 0) return SCX_DSQ_LOCAL;
  // No task is ever dispatched again.
  if (isOn(FAULT_STALL)) return LOST_DSQ;
  // A task is sent to a CPU that is not in its affinity.
  if (isOn(FAULT_WRONG_CPU) && isMeant(p)) {
    const s32 cpu = firstCpu(p, false, -1);
    if (cpu >= 0) return SCX_DSQ_LOCAL_ON | cpu;
  }
  return SHARED_DSQ;
}

s32 BPF_STRUCT_OPS(fault_select_cpu, struct task_struct* p, s32 prevCpu, u64 wakeFlags) {
  bool isIdle = false;
  if (queueOf(p) != SHARED_DSQ) return prevCpu;
  s32 cpu = scx_bpf_select_cpu_dfl(p, prevCpu, wakeFlags, &isIdle);
  if (isOn(FAULT_STARVE_CPU) && cpu == faultCpu) return firstCpu(p, true, faultCpu);
  if (isIdle) scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SCX_SLICE_DFL, 0);
  return cpu;
}

void BPF_STRUCT_OPS(fault_enqueue, struct task_struct* p, u64 enqueueFlags) {
  // The scheduler finds itself in a state that cannot be.
  if (isOn(FAULT_ERROR_EXIT)) scx_bpf_error("scx_fault gives up on %s[%d]", p->comm, p->pid);
  scx_bpf_dsq_insert(p, queueOf(p), SCX_SLICE_DFL, enqueueFlags);
}

// The CPU spends durationNs in the scheduler with interrupts off, and at least three times as much outside of
// it.
static void burn(void) {
  const u64 begin = bpf_ktime_get_ns();
  if (begin < burntUntilNs + 3 * durationNs) return;
  s32 round, turn;
  bpf_for(round, 0, MAX_ROUNDS) {
    bpf_for(turn, 0, MAX_TURNS) {
      if (bpf_ktime_get_ns() - begin >= durationNs) break;
    }
    if (bpf_ktime_get_ns() - begin >= durationNs) break;
  }
  burntUntilNs = bpf_ktime_get_ns();
}

// Takes a slow task once in durationNs, and where the CPU would idle otherwise.
static void dispatchWithSlowOnes(struct task_struct* prev) {
  const u64 now = bpf_ktime_get_ns();
  if (now - lastSlowNs >= durationNs && scx_bpf_dsq_move_to_local(SLOW_DSQ, 0)) {
    lastSlowNs = now;
    return;
  }
  if (scx_bpf_dsq_move_to_local(SHARED_DSQ, 0)) return;
  if (!prev || !(prev->scx.flags & SCX_TASK_QUEUED)) scx_bpf_dsq_move_to_local(SLOW_DSQ, 0);
}

void BPF_STRUCT_OPS(fault_dispatch, s32 cpu, struct task_struct* prev) {
  if (isOn(FAULT_SLOW_DISPATCH) && cpu == faultCpu) burn();
  if (isOn(FAULT_STARVE_CPU) && cpu == faultCpu) return;
  if (isOn(FAULT_STARVE_CGROUP)) return dispatchWithSlowOnes(prev);
  scx_bpf_dsq_move_to_local(SHARED_DSQ, 0);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(fault_init) {
  lastSlowNs = bpf_ktime_get_ns();
  s32 error = scx_bpf_create_dsq(SHARED_DSQ, -1);
  if (!error) error = scx_bpf_create_dsq(LOST_DSQ, -1);
  if (!error) error = scx_bpf_create_dsq(SLOW_DSQ, -1);
  if (!error) error = writeNotes();
  return error;
}

void BPF_STRUCT_OPS(fault_exit, struct scx_exit_info* info) {
  UEI_RECORD(uei, info);
}

SCX_OPS_DEFINE(fault_ops, .select_cpu = (void*)fault_select_cpu, .enqueue = (void*)fault_enqueue,
               .dispatch = (void*)fault_dispatch, .init = (void*)fault_init, .exit = (void*)fault_exit,
               .name = "fault");
