// The processes that workers are, from fork to the moment in which each waits for its start.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest/agent/failure.h"
#include "guest/agent/workers.h"

namespace ktstr::agent {

// With the worker's step, cgroup and name.
Failure failureOf(const Worker& worker, FailureName name, const std::string& message);

// "state R, wchan 0": third field of /proc/TID/stat, and where in the kernel it waits.
std::string whereIs(pid_t tid);

struct CrewProcess {
  pid_t pid;
  bool inCgroup;
};

// A process with this crew, all of it in threads of its own if they are shared. Custom work of a program
// executes that. `start`: readable when they are to begin. It begins in the cgroup whose directory is open as
// `cgroup`
// (-1: in ours), unless clone3(2) is not to be had. Throws Failure spawnFailed.
CrewProcess forkCrew(const std::vector<Worker>& crew, const std::string& processName, int start, int cgroup);

// Until each has written its tid: the threads of a process exist then, and a program is a worker. Throws
// Failure workerSetupFailed with the note that one has left, or spawnFailed.
void awaitThreads(const std::vector<Worker>& crew);

}  // namespace ktstr::agent
