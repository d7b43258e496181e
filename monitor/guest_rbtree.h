// Red-black trees of the guest's kernel (include/linux/rbtree_types.h).
#pragma once

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/walk.h"

namespace ktstr {

// Addresses of the rb_nodes of the rb_root (or rb_root_cached) at `root`, in order. At most `limit`.
Walk<uint64_t> walkRbTree(const GuestKernel& kernel, const KernelLayout& layout, uint64_t root, size_t limit);

}  // namespace ktstr
