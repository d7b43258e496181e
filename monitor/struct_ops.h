// The programs behind a BPF struct_ops map, as that of a sched_ext scheduler (kernel/bpf/bpf_struct_ops.c):
// the map has an array of links, one for each function, and each link its program.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "monitor/bpf_values.h"
#include "monitor/kernel_fields.h"

namespace ktstr {

// Addresses of struct bpf_prog, at most 256, one for each function that has one: a program may be there more
// than once. Empty if this kernel's layout lacks bpf_struct_ops_map.links or funcs_cnt, or they cannot be
// read.
std::vector<uint64_t> structOpsPrograms(const KernelFields& fields, uint64_t map);

// Names of these programs by the addresses at which the kernel calls them. The map has its value twice: as
// the kernel uses it, with such an address where, as user space reads it, the program's id is.
std::map<uint64_t, std::string> structOpsFunctions(const KernelFields& fields, const BpfMap& map);

// The types of such a map's value, which are the kernel's.
ProgramTypes readStructOpsTypes(const KernelFields& fields, const BpfMap& map);

}  // namespace ktstr
