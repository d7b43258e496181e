// What the two halves of scx_fault agree on.
#pragma once

enum Fault {
  FAULT_NONE,
  FAULT_STARVE_TASK,
  FAULT_STARVE_CGROUP,
  FAULT_STARVE_CPU,
  FAULT_STALL,
  FAULT_WRONG_CPU,
  FAULT_SLOW_DISPATCH,
  FAULT_ERROR_EXIT,
  FAULT_CRASH_LOOP,  // of the process; its BPF half has no fault
  FAULT_PIN,         // the same
};

enum {
  COMM_BYTES = 16,
  CGROUP_BYTES = 64,
};
