// Several kernels at once: debian:FIRST..LAST[:FLAVOUR] stands for each series of which there is a kernel,
// from FIRST to LAST, both included (debian:6.16..7.0: 6.16, 6.17, 6.18, 6.19, 7.0). FIRST and LAST are
// series, two numbers each. What order versions have is all that a range looks at.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr::cache {

struct KernelRange {
  std::string first, last, flavour;

  std::string text() const;  // "debian:6.16..7.0", ":generic" behind it if that is the flavour
};

// Nothing for what has no "..", and for a path. Throws Error "kernel-spec-invalid" (usage).
std::optional<KernelRange> parseKernelRange(std::string_view spec);

// The specs that it stands for, oldest first. `versions`: of all kernels of its flavour. Throws Error
// "kernel-range-empty" (usage) with all their series as hint.
std::vector<std::string> specsOf(const KernelRange& range, const std::vector<std::string>& versions);

}  // namespace ktstr::cache
