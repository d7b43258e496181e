// Affinity intents as CPU numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "guest/topology.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

// What AffinityIntent means for `workers` workers in a cgroup whose cpuset in force is `allowed` (ascending,
// not empty). One list for each worker, or a single one where all have the same; none for `inherit`. Random
// subsets come from SplitMix64 (Steele et al., OOPSLA 2014) over seed + worker * 2^32, drawn by a partial
// Fisher-Yates shuffle: the same on every host. Throws Error "scenario-invalid" (message without place) for
// what would be empty.
std::vector<std::vector<uint32_t>> resolveAffinity(rpc::AffinityIntent::Reader intent, uint32_t workers,
                                                   const std::vector<uint32_t>& allowed,
                                                   const Topology& topology);

// The CPUs of a node that are allowed. Throws as resolveAffinity() if there are none.
std::vector<uint32_t> resolveNode(int32_t node, const std::vector<uint32_t>& allowed,
                                  const Topology& topology);

}  // namespace ktstr
