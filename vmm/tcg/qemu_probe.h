// Which QEMU there is, and whether it can be trusted with sched_ext.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ktstr::vmm {

struct QemuProgram {
  std::string path;     // absolute
  std::string version;  // "10.0.2"
  uint32_t hostCpus;    // that it may use
};

// $KTSTR_QEMU or qemu-system-x86_64 from PATH, asked for its version. Throws Error "qemu-missing",
// "qemu-too-old" (before 10: multi-threaded TCG mishandles the kernel's static-key patching, sched_ext dies
// of stray int3) or "qemu-failed", each with the remedy.
QemuProgram findQemu();

// "QEMU emulator version 10.0.2 (Debian ...)" -> "10.0.2"; empty if it is not of that form.
std::string qemuVersion(std::string_view output);

constexpr unsigned kMinQemuMajor = 10;

}  // namespace ktstr::vmm
