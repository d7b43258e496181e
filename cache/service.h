// What the monitor holds of the cache: cache.capnp's AnalysisStore over kind "analysis" of a store.
#pragma once

#include "cache/store.h"
#include "protocol/cache.capnp.h"

namespace ktstr::cache {

inline constexpr uint64_t maxAnalysis = uint64_t{64} << 20;

// Errors of calls: "build-id-invalid" (not 8 to 128 lower-case hex digits), "analysis-not-sealed" (not a
// memfd sealed against writing and shrinking), "analysis-too-large", and those of Store. A corrupt entry is
// logged and not found.
rpc::AnalysisStore::Client makeAnalysisStore(Store store);

// Takes analysis bytes from a descriptor after checking its seals and size. Throws the errors above.
std::string readSealed(int fd);

}  // namespace ktstr::cache
