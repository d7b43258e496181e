// Starting child processes so that none outlives its parent and none inherits a descriptor by accident.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "protocol/fd.h"

namespace ktstr {

struct SpawnOptions {
  std::string executable;                // absolute path
  std::vector<std::string> arguments;    // without argv[0]
  std::vector<std::string> environment;  // NAME=value; empty = the parent's environment
  // {descriptor of ours, number in the child}; numbers >= 3, distinct. Everything else above 2 is closed.
  std::vector<std::pair<int, int>> descriptors;
  int standardInput = -1;     // -1 = /dev/null
  int standardOutput = -1;    // -1 = inherit
  int standardError = -1;     // -1 = inherit
  bool dieWithParent = true;  // SIGKILL when the *thread* that called spawn() ends (PR_SET_PDEATHSIG)
};

// A running child. Destruction kills (SIGKILL) and reaps it.
class Child {
 public:
  Child() = default;
  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;
  ~Child();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable when the child has ended
  explicit operator bool() const { return pid_ > 0; }
  void signal(int number) const;
  // The wait status if it has ended (reaped once, remembered), else nothing, as of no child at all.
  std::optional<int> poll();
  int wait();  // blocks
  // Sends SIGTERM, waits up to `milliseconds`, then SIGKILL; returns the wait status.
  int stop(int milliseconds);

 private:
  friend Child spawn(const SpawnOptions&);
  std::optional<int> reap(int flags);

  pid_t pid_ = -1;
  Fd pidfd_;
  std::optional<int> status_;
};

// The child begins with default signal dispositions and an empty signal mask. Throws Error "spawn-failed"
// naming the executable and errno, also when exec itself fails in the child.
Child spawn(const SpawnOptions& options);

// "exit code 3", "killed by SIGSEGV", ...
std::string describeWaitStatus(int status);

// Path of an executable of ours: in $KTSTR_BIN_DIR if set, else beside the running one. Throws Error
// "tool-missing".
std::string toolPath(const std::string& name);

// Path of a program in PATH (or as given if it has a slash), or nothing.
std::optional<std::string> findProgram(const std::string& name);

}  // namespace ktstr
