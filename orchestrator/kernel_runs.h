// `ktstr run` on several kernels: a run of its own on each, one after the other.
#pragma once

#include <string>
#include <vector>

namespace ktstr {

// The kernels that the words of --kernel stand for, in their order, each once: ranges (cache/range.h) are
// resolved by `ktstr kernel expand`. Throws Error "kernels-unresolved" where that ended in an error.
std::vector<std::string> expandKernels(const std::vector<std::string>& words);

// Executes ktstr-orchestrator with `words` for each of the kernels, in place of what their --kernel name;
// what it prints is printed. Each gets `input` as its standard input. The one that is interrupted is the
// last. Returns the exit code that matters most:
// fail > usage > infrastructure > inconclusive > skipped > pass.
int runOnEach(const std::vector<std::string>& kernels, const std::vector<std::string>& words,
              const std::string& input);

}  // namespace ktstr
