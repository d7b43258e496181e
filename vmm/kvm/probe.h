// What /dev/kvm is good for, judged by what tiny guests do on it: flags in /proc/cpuinfo and successful
// ioctls say little. There are KVMs that create VMs and run flat code but interpret guest kernel mode, where
// no Linux gets far.
#pragma once

#include <optional>
#include <string>

#include "protocol/sandbox.h"
#include "vmm/kvm/kvm.h"

namespace ktstr::vmm {

enum class KvmKind {
  hardware,      // runs what Linux needs at the speed of the CPU
  flatOnly,      // runs flat code, but not what Linux needs, or interpreted
  unusable,      // is there and does not run even flat code
  missing,       // no /dev/kvm
  noPermission,  // may not be opened
};
const char* kvmKindName(KvmKind kind);  // "hardware", "flat-only", "unusable", "missing", "no-permission"

struct KvmVerdict {
  KvmKind kind;
  std::string detail;  // evidence; plain ASCII
};

// Slower than this and guest kernel mode is interpreted: hardware does more than 1000, an emulated CPU with
// SVM more than 100, the interpreting KVM at hand about 1.
constexpr double kMinMips = 20;
constexpr int kProbeMs = 400;  // of guest run time in all; a guest that is not done then is interrupted

class KvmProbe {
 public:
  // Opens /dev/kvm and makes a VM; starts the clock of kProbeMs (SIGALRM). Once per process.
  KvmProbe();
  // May be called in the sandbox.
  KvmVerdict run();

 private:
  std::optional<Kvm> kvm_;
  std::optional<KvmVerdict> verdict_;  // without one
};

// For after KvmProbe's constructor: KVM ioctls by number, standard output, nothing else.
Sandbox kvmProbeSandbox();

}  // namespace ktstr::vmm
