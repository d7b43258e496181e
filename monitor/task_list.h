// All tasks of a guest, as its kernel lists them: the processes on init_task.tasks, the threads of each on
// signal->thread_head (include/linux/sched/signal.h, for_each_process_thread). The idle tasks are not on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/walk.h"

namespace ktstr {

struct TaskInfo {
  uint64_t address = 0;  // of struct task_struct
  int32_t pid = 0, tgid = 0;
  std::optional<int32_t> parent;  // tgid of the real parent
  std::string comm;               // printable ASCII
  // "running", "sleeping", "disk sleep", "stopped", "traced", "idle", "dead", "zombie", or the bits of
  // __state.
  std::string state;
  std::optional<uint32_t> cpu;      // the last it ran on
  std::optional<int32_t> priority;  // task_struct.prio
  std::string schedClass;           // "ext", "fair", "rt", "dl", "stop", "idle"; empty: not known
  // sched_ext's; nothing on a kernel without it
  std::optional<uint32_t> scxWeight, scxFlags;
  std::optional<uint64_t> scxSlice, scxVtime;
};

// At most `limit` tasks, thread by thread.
Walk<TaskInfo> listTasks(const GuestKernel& kernel, const KernelLayout& layout, size_t limit);

}  // namespace ktstr
