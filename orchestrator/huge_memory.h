// Guest RAM in 2 MiB pages on chosen NUMA nodes: what performance mode runs on.
#pragma once

#include <cstdint>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

inline constexpr uint64_t hugePageBytes = uint64_t{2} << 20;

// Huge pages of 2 MiB that nobody has, by sysfs; 0 where the kernel has none of that size.
uint64_t freeHugePages();

// Throws Error "hugepages-too-few", with the command that gets enough, if `bytes` do not fit into them.
void checkHugePages(uint64_t bytes);

struct NodeMemory {
  uint64_t offset, size;  // multiples of hugePageBytes
  uint32_t node;          // of the host
};

// A memfd of huge pages with the content of `ram` (a multiple of hugePageBytes long): bound to the nodes of
// `placement`, which covers all of it, filled and present before it returns, and read back: each range's
// first and last page must be on its node. Throws Error "hugepages-too-few", "memory-not-bound".
Fd moveToHugePages(int ram, const std::vector<NodeMemory>& placement);

}  // namespace ktstr
