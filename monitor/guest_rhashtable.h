// Resizable hash tables of the guest's kernel (include/linux/rhashtable.h, lib/rhashtable.c), without
// rhlists.
#pragma once

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/walk.h"

namespace ktstr {

// Addresses of the rhash_heads in the struct rhashtable at `table`, also of the table that it is being moved
// to, in no order; at most `limit`. One that is in both tables at the moment is told once. Nested bucket
// tables, which the kernel makes when it has no memory for a plain one, are named as a problem.
Walk<uint64_t> walkRhashtable(const GuestKernel& kernel, const KernelLayout& layout, uint64_t table,
                              size_t limit);

}  // namespace ktstr
