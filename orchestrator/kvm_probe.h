// What /dev/kvm is good for, judged by what a tiny guest in an ordinary ktstr-vmm does on it: flags in
// /proc/cpuinfo and successful ioctls say little. There are KVMs that create VMs and run flat code but
// interpret guest kernel mode, where no Linux gets far.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest/boot/machine.h"
#include "protocol/fd.h"

namespace ktstr {

enum class KvmKind {
  hardware,      // runs what Linux needs at the speed of the CPU
  flatOnly,      // runs flat code, but not what Linux needs, or interpreted
  unusable,      // is there and does not run even flat code
  missing,       // no /dev/kvm
  noPermission,  // may not be opened
};

struct KvmVerdict {
  KvmKind kind;
  std::string detail;  // evidence

  // {"kvm":"hardware","detail":"..."}; the others are "flat-only", "unusable", "missing", "no-permission".
  std::string json() const;
};

// Slower than this and guest kernel mode is interpreted: hardware does more than 1000, an emulated CPU with
// SVM more than 100, the interpreting KVM at hand about 1.
constexpr double kMinMips = 20;
constexpr uint64_t kMeasureNs = 50'000'000;  // of vCPU CPU time are enough to tell
constexpr uint64_t kProbeNs = 400'000'000;   // of it in all; what is not done then is not awaited
constexpr uint64_t kAnswerNs =
    5'000'000'000;  // for the VMM to answer a call, and for the guest on a busy host

// The guest of probe_guest.S in a machine of one vCPU, and what it has written into its memory.
class ProbeGuest {
 public:
  static constexpr uint32_t kSteps = 6;  // of what a kernel does at its start

  explicit ProbeGuest(std::vector<CpuidLeaf> cpuid);

  const PreparedRam& machine() const { return machine_; }
  uint64_t steps() const { return word(0x1000); }  // done so far
  uint64_t loops() const { return word(0x1008); }  // of two instructions each, after the last step

 private:
  uint64_t word(uint64_t gpa) const;

  PreparedRam machine_;
  Mapping view_;
};

// What was seen of it.
struct ProbeSight {
  uint64_t steps = 0;
  std::optional<std::string> end;  // ExitReason.detail of a machine that ended by itself
  uint64_t loops = 0, nanos = 0;   // in so much CPU time of the vCPU
};
KvmVerdict judge(const ProbeSight& sight);

// Starts a ktstr-vmm, which is gone when this returns. Takes some 50 ms more than kMeasureNs; bounded by the
// limits above. Throws Error "tool-missing", "spawn-failed"; all else is a verdict.
KvmVerdict probeKvm();

}  // namespace ktstr
