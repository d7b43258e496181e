// The warden: a process forked before the VMM locks itself down. It starts QEMU once on request and outlives
// the VMM by a moment to clean up: when the VMM is gone, however it went, it kills QEMU. If the warden itself
// is killed, QEMU dies with it (PDEATHSIG) and the VMM sees the connection end.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "protocol/fd.h"

namespace ktstr::vmm {

struct LaunchRequest {
  std::vector<std::string> arguments;            // of QEMU, without argv[0]
  std::vector<std::pair<int, int>> descriptors;  // {ours, its number in QEMU}; at most 16
  int standardError = -1;
};

// What the warden tells the VMM: started or failed once; then clocks once, if asked; then ended once.
struct WardenReport {
  enum Kind : uint32_t { started, failed, clocks, ended } kind;
  int32_t
      value;  // started: QEMU's pid; ended: its wait status; clocks: how many come with it (vcpu_clocks.h)
  char text[248];  // failed: why
};

// Forks the warden; the result is our end of a socket that delivers WardenReports and is close-on-exec and
// non-blocking. Call it while the process has one thread. The warden ends when that socket is shut down or
// closed. Throws Error "warden-failed".
Fd startWarden(const std::string& qemuPath);

// Sends the one request; the descriptors stay ours. Throws Error "warden-failed".
void sendLaunch(int warden, const LaunchRequest& request);

// One byte more, when QEMU's vCPU threads exist and before they run: the warden answers with their clocks,
// and locks itself down, which it can do only now because opening files is not for it afterwards.
inline constexpr char kAskForClocks = 'c';
inline constexpr size_t kMaxClocks = 16;

}  // namespace ktstr::vmm
