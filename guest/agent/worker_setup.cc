#include "guest/agent/worker_setup.h"

#include <grp.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "guest/topology.h"
#include "guest/work/sched_attributes.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

using Cpus = std::vector<uint32_t>;

// include/uapi/linux/sched.h, and mempolicy.h of Linux 6.9: older C libraries and headers have not all of
// them.
constexpr uint32_t policyDeadline = 6, policyExt = 7;
constexpr int weightedInterleaveMode = 6;
constexpr int numaBalancingFlag = 1 << 13;
constexpr unsigned long maxNode = 65;  // get_mempolicy() counts from 1

using Attributes = work::SchedAttributes;

[[noreturn]] void fail(const std::string& message) {
  throw Failure(FailureName::WORKER_SETUP_FAILED, message);
}

Attributes attributesOf(const WorkerSettings& settings) {
  Attributes wanted;
  wanted.nice = settings.nice;
  const auto policy = settings.policy;
  switch (policy.which()) {
    case rpc::SchedPolicy::NORMAL:
      wanted.policy = SCHED_OTHER;
      break;
    case rpc::SchedPolicy::BATCH:
      wanted.policy = SCHED_BATCH;
      break;
    case rpc::SchedPolicy::IDLE:
      wanted.policy = SCHED_IDLE;
      break;
    case rpc::SchedPolicy::FIFO:
      wanted.policy = SCHED_FIFO;
      wanted.priority = policy.getFifo();
      break;
    case rpc::SchedPolicy::RR:
      wanted.policy = SCHED_RR;
      wanted.priority = policy.getRr();
      break;
    case rpc::SchedPolicy::EXT:
      wanted.policy = policyExt;
      break;
    case rpc::SchedPolicy::DEADLINE: {
      const auto deadline = policy.getDeadline();
      wanted.policy = policyDeadline;
      wanted.runtimeNs = uint64_t{deadline.getRuntimeUs()} * 1000;
      wanted.deadlineNs = uint64_t{deadline.getDeadlineUs()} * 1000;
      wanted.periodNs =
          deadline.getPeriodUs() == 0 ? wanted.deadlineNs : uint64_t{deadline.getPeriodUs()} * 1000;
      break;
    }
  }
  return wanted;
}

std::string describe(const Attributes& attributes) {
  constexpr const char* names[] = {"normal", "fifo", "rr", "batch", "4", "idle", "deadline", "ext"};
  std::string out = attributes.policy < std::size(names) ? names[attributes.policy] : "unknown";
  if (attributes.policy == SCHED_FIFO || attributes.policy == SCHED_RR) {
    return text("policy ", out, ' ', attributes.priority);
  }
  if (attributes.policy == policyDeadline) {
    return text("policy ", out, ' ', attributes.runtimeNs, '/', attributes.deadlineNs, '/',
                attributes.periodNs, " ns");
  }
  return text("policy ", out, ", nice ", attributes.nice);
}

cpu_set_t maskOf(const Cpus& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const uint32_t cpu : cpus) CPU_SET(cpu, &mask);
  return mask;
}

// What set_mempolicy() takes.
struct MemoryMode {
  int mode = 0;
  const char* name = "";
  uint64_t nodes = 0;
};

uint64_t nodeMask(capnp::List<uint32_t>::Reader nodes) {
  uint64_t mask = 0;
  for (const uint32_t node : nodes) mask |= uint64_t{1} << node;
  return mask;
}

MemoryMode memoryModeOf(rpc::MemPolicy::Reader policy) {
  switch (policy.which()) {
    case rpc::MemPolicy::DEFAULT:
      break;
    case rpc::MemPolicy::BIND:
      return {MPOL_BIND, "bind", nodeMask(policy.getBind())};
    case rpc::MemPolicy::PREFERRED:
      return {MPOL_PREFERRED, "preferred", uint64_t{1} << policy.getPreferred()};
    case rpc::MemPolicy::INTERLEAVE:
      return {MPOL_INTERLEAVE, "interleave", nodeMask(policy.getInterleave())};
    case rpc::MemPolicy::LOCAL:
      return {MPOL_LOCAL, "local", 0};
    case rpc::MemPolicy::PREFERRED_MANY:
      return {MPOL_PREFERRED_MANY, "preferredMany", nodeMask(policy.getPreferredMany())};
    case rpc::MemPolicy::WEIGHTED_INTERLEAVE:
      return {weightedInterleaveMode, "weightedInterleave", nodeMask(policy.getWeightedInterleave())};
  }
  return {MPOL_DEFAULT, "default", 0};
}

void setMemory(rpc::MemPolicy::Reader policy) {
  const MemoryMode wanted = memoryModeOf(policy);
  const int flags = (policy.getStaticNodes() ? MPOL_F_STATIC_NODES : 0) |
                    (policy.getRelativeNodes() ? MPOL_F_RELATIVE_NODES : 0) |
                    (policy.getNumaBalancing() ? numaBalancingFlag : 0);
  const auto* nodes = wanted.nodes != 0 ? &wanted.nodes : nullptr;
  if (syscall(SYS_set_mempolicy, wanted.mode | flags, nodes, nodes != nullptr ? maxNode : 0) != 0) {
    fail(withErrno(text("set memory policy ", wanted.name, " on nodes ", hex(wanted.nodes)), errno));
  }
  int mode = 0;
  uint64_t got[2] = {};
  if (syscall(SYS_get_mempolicy, &mode, got, maxNode + 63, nullptr, 0) != 0) {
    fail(withErrno("read the memory policy back", errno));
  }
  if (mode != (wanted.mode | flags) || (nodes != nullptr && got[0] != wanted.nodes)) {
    fail(text("memory policy ", wanted.name, " (", wanted.mode | flags, ") on nodes ", hex(wanted.nodes),
              " reads back as ", mode, " on ", hex(got[0])));
  }
}

void setName(const std::string& comm) {
  char got[16] = {};
  if (prctl(PR_SET_NAME, comm.c_str()) != 0 || prctl(PR_GET_NAME, got) != 0) {
    fail(withErrno(text("set comm \"", comm, '"'), errno));
  }
  if (got != comm) fail(text("comm \"", comm, "\" reads back as \"", got, '"'));
}

// By raw system calls: the C library's would change every thread of the process.
void setUser(uint32_t uid, uint32_t gid) {
  if (syscall(SYS_setgroups, 0, nullptr) != 0) fail(withErrno("drop the supplementary groups", errno));
  if (gid != 0 && syscall(SYS_setresgid, gid, gid, gid) != 0) fail(withErrno(text("set gid ", gid), errno));
  if (uid != 0 && syscall(SYS_setresuid, uid, uid, uid) != 0) fail(withErrno(text("set uid ", uid), errno));
  if ((uid != 0 && getuid() != uid) || (gid != 0 && getgid() != gid)) {
    fail(text("uid ", uid, ", gid ", gid, " read back as ", getuid(), ", ", getgid()));
  }
}

}  // namespace

WorkerSettings settingsOf(rpc::WorkSpec::Reader work, rpc::CgroupDef::Reader defaults) {
  WorkerSettings settings{.policy = work.getPolicy(), .memory = work.getMemory()};
  const bool hasNice =
      !work.getPolicy().isFifo() && !work.getPolicy().isRr() && !work.getPolicy().isDeadline();
  settings.nice = work.getNice() != 0 ? work.getNice() : hasNice ? defaults.getNice() : 0;
  settings.comm = work.getComm().size() > 0 ? work.getComm().cStr() : defaults.getComm().cStr();
  settings.pcomm = work.getPcomm().size() > 0 ? work.getPcomm().cStr() : defaults.getPcomm().cStr();
  settings.uid = work.getUid() != 0 ? work.getUid() : defaults.getUid();
  settings.gid = work.getGid() != 0 ? work.getGid() : defaults.getGid();
  return settings;
}

void setPolicy(pid_t task, const WorkerSettings& settings, const std::string& who) {
  const Attributes wanted = attributesOf(settings);
  if (wanted.policy == SCHED_OTHER && wanted.nice == 0) return;
  if (syscall(SYS_sched_setattr, task, &wanted, 0) != 0) {
    fail(withErrno(text("set ", describe(wanted), " of ", who), errno));
  }
  // sched_setattr() gives an idle task no nice value.
  if (wanted.policy == SCHED_IDLE && setpriority(PRIO_PROCESS, static_cast<id_t>(task), wanted.nice) != 0) {
    fail(withErrno(text("set nice ", wanted.nice, " of ", who), errno));
  }
  Attributes got;
  if (syscall(SYS_sched_getattr, task, &got, sizeof got, 0) != 0) {
    fail(withErrno("read the policy back of " + who, errno));
  }
  if (describe(got) != describe(wanted)) {
    fail(text(describe(wanted), " of ", who, " reads back as ", describe(got)));
  }
}

namespace {

std::optional<Cpus> affinityOf(pid_t task) {
  cpu_set_t got;
  if (sched_getaffinity(task, sizeof got, &got) != 0) return std::nullopt;
  Cpus cpus;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &got)) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

void setAffinity(pid_t task, const Cpus& cpus, const Cpus& expected, const std::string& who) {
  const cpu_set_t wanted = maskOf(cpus);
  if (sched_setaffinity(task, sizeof wanted, &wanted) != 0) {
    fail(withErrno(text("set affinity ", cpuList(cpus), " of ", who), errno));
  }
  const auto read = affinityOf(task);
  if (!read) fail(withErrno("read the affinity back of " + who, errno));
  if (*read == expected) return;
  fail(text("affinity ", cpuList(cpus), " of ", who, " reads back as ", cpuList(*read), ", not ",
            cpuList(expected)));
}

std::optional<Cpus> otherAffinity(pid_t task, const Cpus& expected) {
  auto now = affinityOf(task);
  return now && *now == expected ? std::nullopt : std::move(now);
}

void liftAffinity(pid_t task, const std::string& who) {
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  if (sched_setaffinity(task, sizeof all, &all) != 0) fail(withErrno("lift the affinity of " + who, errno));
}

void setUpOneself(const WorkerSettings& settings) {
  if (!settings.memory.isDefault()) setMemory(settings.memory);
  if (!settings.comm.empty()) setName(settings.comm);
  if (settings.uid != 0 || settings.gid != 0) setUser(settings.uid, settings.gid);
}

}  // namespace ktstr::agent
