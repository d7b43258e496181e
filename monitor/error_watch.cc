#include "monitor/error_watch.h"

namespace ktstr {

ErrorWatch::ErrorWatch(const GuestKernel& kernel, const KernelLayout& layout)
    : fields_(kernel, layout),
      root_(kernel.symbol("scx_root")),
      firstError_(layout.constant("scx_exit_kind.SCX_EXIT_ERROR")) {}

bool ErrorWatch::look() {
  if (!root_ || !firstError_) return false;
  const auto scheduler = fields_.kernel().read<uint64_t>(*root_).value_or(0);
  const auto info = scheduler ? fields_.get<uint64_t>(scheduler, "scx_sched.exit_info").value_or(0) : 0;
  const auto kind = info ? fields_.get<int32_t>(info, "scx_exit_info.kind").value_or(0) : 0;
  const bool failed = kind >= *firstError_;
  const bool isNew = failed && scheduler != told_;
  told_ = failed ? scheduler : 0;
  return isNew;
}

}  // namespace ktstr
