// Sees from outside that the kernel ends a sched_ext scheduler for an error (struct scx_exit_info.kind),
// while its queues are still as they were: three loads of memory, so that one can look often.
#pragma once

#include "monitor/kernel_fields.h"

namespace ktstr {

class ErrorWatch {
 public:
  // Both must outlive this object.
  ErrorWatch(const GuestKernel& kernel, const KernelLayout& layout);

  // True once for each scheduler. Always false where this kernel does not tell.
  bool look();

 private:
  KernelFields fields_;
  std::optional<uint64_t> root_;       // address of scx_root
  std::optional<int64_t> firstError_;  // SCX_EXIT_ERROR: all kinds from it on are errors
  uint64_t told_ = 0;                  // the scheduler whose error was told last
};

}  // namespace ktstr
