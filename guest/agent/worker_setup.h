// The settings of one worker: policy and nice, affinity, memory policy, name, user. Each is read back after
// the call; what the kernel refuses, or has in another way, is Failure workerSetupFailed with errno.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "guest/agent/failure.h"
#include "guest/work/setup_notes.h"
#include "protocol/scenario.capnp.h"

namespace ktstr::agent {

using work::SetupNotes;

// Of a WorkSpec, with its cgroup's defaults where it has none of its own. The readers must outlive it.
struct WorkerSettings {
  rpc::SchedPolicy::Reader policy;
  rpc::MemPolicy::Reader memory;
  int nice = 0;
  std::string comm = {}, pcomm = {};
  uint32_t uid = 0, gid = 0;
};
WorkerSettings settingsOf(rpc::WorkSpec::Reader work, rpc::CgroupDef::Reader defaults);

// From outside, by the agent, which gets a CPU under any scheduler: `who` names the task in the failure.
void setPolicy(pid_t task, const WorkerSettings& settings, const std::string& who);
// The kernel cuts `cpus` by the cpuset; `expected` is what must come out.
void setAffinity(pid_t task, const std::vector<uint32_t>& cpus, const std::vector<uint32_t>& expected,
                 const std::string& who);

// Where `task` may run now, if that is not `expected`; nothing for a task that is gone.
std::optional<std::vector<uint32_t>> otherAffinity(pid_t task, const std::vector<uint32_t>& expected);
// Back to every CPU that the cpuset allows.
void liftAffinity(pid_t task, const std::string& who);

// From inside, by the task itself before it works: memory policy, name, group, user. Throws Failure.
void setUpOneself(const WorkerSettings& settings);

}  // namespace ktstr::agent
