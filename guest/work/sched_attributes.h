// What sched_getattr(2) and sched_setattr(2) speak of, for which this C library has no name.
#pragma once

#include <cstdint>

namespace ktstr::work {

// struct sched_attr of include/uapi/linux/sched/types.h, its first version.
struct SchedAttributes {
  uint32_t size = sizeof(SchedAttributes), policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtimeNs = 0, deadlineNs = 0, periodNs = 0;
};

}  // namespace ktstr::work
