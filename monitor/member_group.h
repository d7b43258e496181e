// Members of a kernel structure that mean something only together: a kernel has all of them, or the group is
// absent.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "monitor/kernel.h"
#include "monitor/kernel_layout.h"

namespace ktstr {

struct MemberGroup {
  std::vector<Field> fields;  // in the order of their names; each an integer of 4 or 8 bytes
  std::string absent;         // why there is no such group: "schedstat: rq.yld_count: no member yld_count"

  // A member of the group in an object whose bytes begin at `object`.
  uint64_t load(const std::byte* object, size_t which) const {
    return loadAt(object + fields[which].offset, which);
  }
  uint64_t loadAt(const std::byte* member, size_t which) const {
    return fields[which].size == 4 ? loadGuest<uint32_t>(member) : loadGuest<uint64_t>(member);
  }
  // Where each member of the object at `address` is on the host; empty if one of them is not in memory.
  std::vector<const std::byte*> locate(const GuestKernel& kernel, uint64_t address) const;
};

// `members` as KernelLayout calls them. Where one begins with '|', it stands for the one before if the kernel
// has not that.
MemberGroup findGroup(const KernelLayout& layout, const char* what,
                      std::initializer_list<const char*> members);

}  // namespace ktstr
