// BPF local storage: values that a map keeps for each task, cgroup, socket or inode (kernel/bpf/
// bpf_local_storage.c). A map has a table of its elements, each with its value and the storage that it is
// part of, which knows whose it is.
#pragma once

#include <cstdint>

#include "monitor/bpf_objects.h"
#include "monitor/value.h"

namespace ktstr {

bool isLocalStorage(uint32_t mapType);

struct StorageElement {
  uint64_t owner = 0;  // address of the struct task_struct, cgroup, sock or inode
  uint64_t value = 0;  // address
};

// The elements of a map that have an owner, at most `limit`: one without is just being freed.
Walk<StorageElement> walkLocalStorage(const GuestKernel& kernel, const KernelLayout& layout,
                                      const BpfMap& map, size_t limit);

// Whose an element is, as people know it: {"pid": 17, "comm": "sh"} of a task, the path of a cgroup; of
// others, and of what cannot be read, the address.
Value storageOwner(const GuestKernel& kernel, const KernelLayout& layout, const BpfMap& map, uint64_t owner);

// Their order: tasks by pid, others by name.
bool ownsBefore(const Value& one, const Value& other);

}  // namespace ktstr
