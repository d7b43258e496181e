// What PID 1 does with the machine it wakes up in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/fd.h"
#include "protocol/report.capnp.h"

namespace ktstr::agent {

// What the host says on the kernel command line:
//   ktstr.mailbox=0xGPA,0xSIZE   where the mailbox is
//   ktstr.inject=WHAT            see inject.h
//   ktstr.late_cpus              see bringCpusOnline()
struct CommandLine {
  uint64_t mailboxGpa = 0, mailboxSize = 0;
  std::string inject;
  bool lateCpus = false;
};
// Throws Failure ordersInvalid if there is no mailbox or it is written in another way.
CommandLine parseCommandLine(std::string_view line);

// The mounts without which nothing can be reported (/proc, /dev), and the rest: /sys, cgroup2, /tmp, /run,
// bpffs; debugfs and tracefs as far as the kernel has them. Throw Failure mountFailed.
void mountFirst();
void mountRest();

// Throws Failure imageIncomplete if `directory`/complete, the archive's last file, is missing (the image was
// cut off), or if `directory`/run does not say `runId` (it is another run's image).
void checkImage(const std::string& directory, const std::string& runId);

// The mailbox by /dev/mem, cached (an uncached mapping of a reserved range is refused), not passed on to
// children.
Mapping mapMailbox(const CommandLine& line);
// The second serial port, raw and non-blocking; none if there is none.
Fd openDoorbell(const char* path = "/dev/ttyS1");

// SCHED_FIFO 99, so that neither a bad sched_ext scheduler, which is given only the normal policies, nor
// real-time workers on every CPU can starve the agent. It sleeps nearly always and runs for microseconds, so
// it disturbs no more than at a normal priority. Children are reset to the normal policy when they are
// forked.
void raiseOwnPriority();

// Brings every CPU online that maxcpus= has left out. While the kernel boots, until it has chosen a clock for
// them, CPUs tick whether they are idle or not; where many share few of the host's, and more so where KVM is
// emulated, they then leave it hardly any time. Throws Failure settingRefused.
void bringCpusOnline();

// Lets the kernel count, for the monitor, what it does not count of itself: runs and time of BPF programs
// (kernel.bpf_stats_enabled), wakeups and calls of schedule() (kernel.sched_schedstats). A kernel that cannot
// does not; who does not want it sets the sysctl to 0 by the orders, which come later.
void countForMonitor();

// `uptimeMs`: when init began.
void fillFacts(rpc::GuestFacts::Builder facts, uint32_t uptimeMs);
uint32_t uptimeMs();

// Ends the machine: sync, then a reset (with reboot=k the keyboard controller's).
[[noreturn]] void reset();

}  // namespace ktstr::agent
