// Where a cgroup is in the default hierarchy.
#pragma once

#include <cstdint>
#include <string>

#include "monitor/kernel_fields.h"

namespace ktstr {

inline constexpr size_t maxCgroupPath = 1024;  // bytes

// Path ("/a/b") of a struct cgroup; empty if it cannot be read, or is longer.
std::string cgroupPath(const KernelFields& fields, uint64_t cgroup);

}  // namespace ktstr
