#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "guest/topology.h"
#include "guest/work/loops.h"
#include "guest/work/sched_attributes.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::work {
namespace {

cpu_set_t setOf(const std::vector<uint32_t>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const uint32_t cpu : cpus) CPU_SET(cpu, &set);
  return set;
}

std::vector<uint32_t> cpusOfNow() {
  cpu_set_t set;
  std::vector<uint32_t> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// The CPUs of each node that has any which the worker may use.
std::vector<std::vector<uint32_t>> nodes() {
  const std::vector<uint32_t> allowed = cpusOfNow();
  std::vector<std::vector<uint32_t>> all;
  for (uint32_t node = 0; node < maxNumaNodes; node++) {
    const auto list = readFileIfThere(text("/sys/devices/system/node/node", node, "/cpulist"));
    if (!list) continue;
    std::vector<uint32_t> cpus = parseCpuList(*list);
    std::erase_if(cpus, [&](uint32_t cpu) { return std::count(allowed.begin(), allowed.end(), cpu) == 0; });
    if (!cpus.empty()) all.push_back(std::move(cpus));
  }
  return all;
}

// Where none of them is in its cpuset, which is what EINVAL says, that is an error unless the cpuset once had
// one. False: it stays where it was.
bool changeTo(Seat& seat, const std::vector<uint32_t>& cpus, bool hadOne) {
  const cpu_set_t set = setOf(cpus);
  const bool changed = sched_setaffinity(0, sizeof set, &set) == 0;
  if (changed)
    seat.telemetry.event();
  else if (!hadOne || errno != EINVAL)
    seat.telemetry.error("sched_setaffinity");
  return changed;
}

bool anyOf(const std::vector<uint32_t>& cpus, const std::vector<uint32_t>& others) {
  return std::find_first_of(cpus.begin(), cpus.end(), others.begin(), others.end()) != cpus.end();
}

void spinOnce(Seat& seat, uint64_t units) {
  seat.spin(units);
  seat.telemetry.iteration(units);
}

}  // namespace

void forkExit(Seat& seat) {
  bool forked = false;
  while (!seat.stopping()) {
    seat.telemetry.block();
    seat.me().wokenNs.store(0);
    const pid_t child = fork();
    if (child == 0) {
      seat.notify(seat.position);
      _exit(0);
    }
    // EAGAIN: pids.max, which is no error once there was room for a child. It ends as soon as it gets a CPU,
    // without which no task can be ended.
    const bool full = child < 0 && errno == EAGAIN && forked;
    forked = forked || child > 0;
    if (child < 0 && !full)
      seat.telemetry.error("fork");
    else if (child < 0)
      sched_yield();
    else if (waitpid(child, nullptr, 0) != child)
      seat.telemetry.error("waitpid");
    else
      seat.telemetry.event();
    const uint64_t exitNs = seat.me().wokenNs.load();
    exitNs != 0 ? seat.telemetry.resume(exitNs) : seat.telemetry.rearm();
    seat.telemetry.iteration(1);
  }
}

void niceSweep(Seat& seat) {
  constexpr int lowest = -20, highest = 19;
  const int before = getpriority(PRIO_PROCESS, 0);  // 0: the calling thread
  for (int value = before; !seat.stopping();) {
    spinOnce(seat, 512);
    value = value < highest ? value + 1 : lowest;
    setpriority(PRIO_PROCESS, 0, value) == 0 ? seat.telemetry.event() : seat.telemetry.error("setpriority");
    sched_yield();
  }
  setpriority(PRIO_PROCESS, 0, before);
}

void affinityChurn(Seat& seat) {
  std::vector<uint32_t> allowed = cpusOfNow();
  if (allowed.empty()) return seat.telemetry.error("sched_getaffinity");
  uint64_t random = seat.index + 1;
  while (!seat.stopping()) {
    spinOnce(seat, seat.type.getAffinityChurn().getSpinIters());
    if (!changeTo(seat, {allowed[nextRandom(random) % allowed.size()]}, true)) {
      // Where its cpuset has none of them any more, the kernel has given it all that there are.
      const std::vector<uint32_t> now = cpusOfNow();
      if (!anyOf(now, allowed)) allowed = now;
    }
    sched_yield();
  }
  const cpu_set_t before = setOf(allowed);
  sched_setaffinity(0, sizeof before, &before);
}

void policyChurn(Seat& seat) {
  struct Policy {
    int policy, priority;
  };
  constexpr Policy policies[] = {
      {SCHED_OTHER, 0}, {SCHED_BATCH, 0}, {SCHED_IDLE, 0}, {SCHED_FIFO, 1}, {SCHED_RR, 1}};
  SchedAttributes before;
  const bool known = syscall(SYS_sched_getattr, 0, &before, sizeof before, 0) == 0;
  for (size_t next = 1; !seat.stopping(); next = (next + 1) % std::size(policies)) {
    spinOnce(seat, seat.type.getPolicyChurn().getSpinIters());
    if (seat.setPolicy(policies[next].policy, policies[next].priority)) seat.telemetry.event();
    sched_yield();
  }
  if (known) syscall(SYS_sched_setattr, 0, &before, 0);
}

void numaMigrationChurn(Seat& seat) {
  const auto all = nodes();
  std::vector<bool> had(all.size());
  const uint64_t periodNs = seat.type.getNumaMigrationChurn().getPeriodMs() * uint64_t{1'000'000};
  for (size_t next = 0; !all.empty() && !seat.stopping(); next++) {
    const size_t node = next % all.size();
    if (changeTo(seat, all[node], had[node])) had[node] = true;
    seat.sleepUntil(clockNs() + periodNs);
    spinOnce(seat, 256);
  }
}

void cgroupChurn(Seat& seat) {
  const auto& groups = seat.surroundings.churnCgroups;
  const uint64_t cycleNs = seat.type.getCgroupChurn().getCycleMs() * uint64_t{1'000'000};
  for (size_t next = 0; !groups.empty() && !seat.stopping(); next++) {
    const Fd procs(open(groups[next % groups.size()].c_str(), O_WRONLY | O_CLOEXEC));
    // "0": whoever writes (Documentation/admin-guide/cgroup-v2.rst). One that is gone was removed by the
    // scenario.
    if (procs && write(procs.get(), "0", 1) == 1)
      seat.telemetry.event();
    else if (errno != ENOENT && errno != ENODEV)
      seat.telemetry.error("cgroup.procs");
    seat.sleepUntil(clockNs() + cycleNs);
    spinOnce(seat, 256);
  }
}

}  // namespace ktstr::work
