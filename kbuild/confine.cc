#include "kbuild/confine.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ktstr::kbuild {
namespace {

constexpr const char* files[] = {
    "access",    "chdir",     "chmod",        "close",      "close_range",     "copy_file_range",
    "creat",     "dup",       "dup2",         "dup3",       "faccessat",       "faccessat2",
    "fadvise64", "fallocate", "fchdir",       "fchmod",     "fchmodat",        "fchown",
    "fcntl",     "fdatasync", "fgetxattr",    "flistxattr", "flock",           "fsetxattr",
    "fstat",     "fstatfs",   "fsync",        "ftruncate",  "getcwd",          "getdents64",
    "getxattr",  "lgetxattr", "link",         "linkat",     "listxattr",       "llistxattr",
    "lseek",     "lstat",     "memfd_create", "mkdir",      "mkdirat",         "newfstatat",
    "open",      "openat",    "pread64",      "preadv",     "pwrite64",        "pwritev",
    "read",      "readahead", "readlink",     "readv",      "readlinkat",      "rename",
    "renameat",  "renameat2", "rmdir",        "sendfile",   "splice",          "stat",
    "statfs",    "statx",     "symlink",      "symlinkat",  "sync_file_range", "syncfs",
    "truncate",  "umask",     "unlink",       "unlinkat",   "utime",           "utimensat",
    "utimes",    "write",     "writev",
};

constexpr const char* processes[] = {
    "alarm",
    "arch_prctl",
    "capget",
    "clone3",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "kill",
    "pidfd_open",
    "pidfd_send_signal",
    "prlimit64",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "setitimer",
    "getitimer",
    "setpgid",
    "setrlimit",
    "setsid",
    "sigaltstack",
    "signalfd4",
    "sysinfo",
    "tgkill",
    "times",
    "uname",
    "vfork",
    "wait4",
    "waitid",
};

constexpr const char* memoryAndWaiting[] = {
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "futex",
    "futex_waitv",
    "getcpu",
    "getrandom",
    "gettimeofday",
    "madvise",
    "membarrier",
    "mincore",
    "mlock",
    "mmap",
    "mprotect",
    "mremap",
    "msync",
    "munlock",
    "munmap",
    "nanosleep",
    "pause",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "restart_syscall",
    "select",
    "time",
};

void allowPinned(Sandbox& sandbox) {
  // Shells drop privileges they do not have: only to the user and group they already are.
  constexpr uint64_t same = 0xffffffff;
  sandbox.allow("setresuid", {{0, same}, {1, geteuid()}, {2, same}});
  sandbox.allow("setresgid", {{0, same}, {1, getegid()}, {2, same}});
  sandbox.allow("setuid", {{0, getuid()}}).allow("setgid", {{0, getgid()}});

  constexpr uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                  CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  sandbox.allow("clone", {{0, 0, namespaces}});
  sandbox.allow("socketpair", {{0, AF_UNIX}});
  // make's job server is a named pipe (GNU make 4.4).
  sandbox.allow("mknod", {{1, S_IFIFO, S_IFMT}}).allow("mknodat", {{2, S_IFIFO, S_IFMT}});
  sandbox.allow("getpeername");  // bash asks whether its standard input is a network
  for (const int command : {TCGETS, TIOCGWINSZ, TIOCGPGRP, FIONREAD, FIOCLEX, FIONBIO}) {
    sandbox.allow("ioctl", {{1, static_cast<uint64_t>(command)}});
  }
  sandbox.allow("ioctl", {{1, FICLONE}}).allow("ioctl", {{1, FS_IOC_GETFLAGS}});
  for (const int option : {PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER,
                           PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ, PR_SET_VMA}) {
    sandbox.allow("prctl", {{0, static_cast<uint64_t>(option)}});
  }
}

}  // namespace

Sandbox buildSandbox(const char* process) {
  Sandbox sandbox(process);
  for (const char* name : files) sandbox.allow(name);
  for (const char* name : processes) sandbox.allow(name);
  for (const char* name : memoryAndWaiting) sandbox.allow(name);
  allowPinned(sandbox);
  return sandbox.limit(RLIMIT_CORE, 0)
      .limit(RLIMIT_FSIZE, rlim_t{4} << 30)
      .limit(RLIMIT_NOFILE, 1024)
      .limit(RLIMIT_CPU, 3600);
}

}  // namespace ktstr::kbuild
