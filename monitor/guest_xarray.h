// XArrays and IDRs of the guest's kernel (include/linux/xarray.h, idr.h).
#pragma once

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"
#include "monitor/walk.h"

namespace ktstr {

struct XarrayEntry {
  uint64_t index;
  uint64_t pointer;
};

// The pointers in the xarray at `address`, in ascending index; not its values, zero and retry entries. At
// most `limit`; no more than `limit` + 64 of its nodes are looked at.
Walk<XarrayEntry> walkXarray(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address,
                             size_t limit);

// The same of the IDR at `address`; the index is the id.
Walk<XarrayEntry> walkIdr(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address,
                          size_t limit);

}  // namespace ktstr
