// Locking a process down: seccomp allow-list, no_new_privs, rlimits, no capabilities, no paths.
//
// Pattern of use, at one visible line of main(), after everything is open:
//   Sandbox("ktstr-monitor").allowBasics().allowHeap().allow("read", {{0, fd}}).lockDown();
//
// After lockDown() any other syscall is not made and ends the process by SIGSYS. Before that a handler, which
// cannot be replaced any more, writes "<process>: seccomp: forbidden syscall <name>(<args>)" to stderr
// (SECCOMP_RET_TRAP). With KTSTR_SANDBOX=quiet in the environment the kernel kills at once, without a word
// (SECCOMP_RET_KILL_PROCESS): for who trusts nobody to read stderr. There is no way to switch the sandbox
// off.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ktstr {

// One condition on one argument, compared on 32 bits unless wide. `mask` 0 means all bits.
struct ArgumentRule {
  unsigned index;  // 0..5
  uint64_t value;
  uint64_t mask = 0;
  bool wide = false;
};

class Sandbox {
 public:
  explicit Sandbox(std::string process);

  // Allows a syscall by name, always or only if all rules hold; several calls for one name are alternatives.
  // Throws Error "sandbox-invalid" for a name this libseccomp does not know, unless it is a known newer name.
  Sandbox& allow(const std::string& syscall, std::vector<ArgumentRule> rules = {});
  // Lets a syscall fail with an errno instead of killing: for calls that libraries try before others.
  Sandbox& refuse(const std::string& syscall, int errnum);
  // What every process needs to go on and to end: exit, clocks and sleeping, futex, getrandom, brk, munmap,
  // madvise, signal masks, abort() (tgkill of this process alone: call after the last fork), write to
  // descriptor 2.
  Sandbox& allowBasics();
  // mmap of anonymous memory and mprotect without PROT_EXEC, mremap.
  Sandbox& allowHeap();
  // What a KJ event loop and Cap'n Proto on connected Unix sockets need: epoll, poll, read, write, sendmsg,
  // recvmsg, close, shutdown, fstat on any descriptor; fcntl F_GETFL, F_SETFL, F_GETFD, F_SETFD,
  // F_DUPFD_CLOEXEC; signalfd4. Opens nothing, but newfstatat (fstat of some glibc) can tell that a path
  // exists.
  Sandbox& allowEventLoop();
  // What serve() of protocol/transport.h needs for one listening socket, besides allowEventLoop().
  Sandbox& allowAccept(int listener);
  Sandbox& limit(int resource, rlim_t value);  // setrlimit, soft and hard; a lower hard limit stays

  // The filter covers the calling thread alone, and threads it makes. Needed where threads have filters of
  // their own already.
  Sandbox& thisThreadOnly();

  // lockDown() also gives up what the process could do without a descriptor: every capability, and by an
  // empty Landlock ruleset every path (the log says why if the kernel has none). Covers the calling thread
  // and those it makes: call lockDown() while there is no other.
  Sandbox& dropPrivileges();

  // Sets no_new_privs, rlimits, drops privileges, closes descriptors, installs the filter on all threads
  // (unless thisThreadOnly). Throws Error "sandbox-failed" with errno; the caller must not go on then.
  void lockDown();

  // The filter as text, one "name" or "name arg0==3" per line, sorted; for --print-seccomp and tests.
  std::vector<std::string> describe() const;
  // Distinct syscalls allowed.
  size_t syscallCount() const;

 private:
  struct Rule {
    std::string syscall;
    std::vector<ArgumentRule> arguments;
    int refusal = 0;  // errno, or 0: allowed
  };
  std::string process_;
  std::vector<Rule> rules_;
  std::vector<std::pair<int, rlim_t>> limits_;
  bool allThreads_ = true;
  bool dropPrivileges_ = false;
};

}  // namespace ktstr
