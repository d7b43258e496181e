// Starting a program of the image: a scheduler, a payload.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest/agent/failure.h"
#include "protocol/fd.h"

namespace ktstr::agent {

struct Program {
  std::string path;
  std::vector<std::string> arguments, environment;  // without the path; besides PATH and HOME
  std::string cgroup;                               // directory it is in before it executes; empty: ours
};

struct StartedProgram {
  pid_t pid = -1;
  Fd output;  // its stdout and stderr, non-blocking
};

// In a process group of its own, with default signals and unlimited locked memory. Throws Failure `name` if
// it cannot be executed: errno, and whether it is the interpreter that is missing.
StartedProgram startProgram(const Program& program, FailureName name);

}  // namespace ktstr::agent
