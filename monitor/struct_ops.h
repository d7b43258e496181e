// The programs behind a BPF struct_ops map, as that of a sched_ext scheduler (kernel/bpf/bpf_struct_ops.c):
// the map has an array of links, one for each function, and each link its program.
#pragma once

#include <cstdint>
#include <vector>

#include "monitor/kernel_fields.h"

namespace ktstr {

// Addresses of struct bpf_prog, at most 256, one for each function that has one: a program may be there more
// than once. Empty if this kernel's layout lacks bpf_struct_ops_map.links or funcs_cnt, or they cannot be
// read.
std::vector<uint64_t> structOpsPrograms(const KernelFields& fields, uint64_t map);

}  // namespace ktstr
