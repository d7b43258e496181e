#include "cache/confine.h"

#include <sys/ioctl.h>
#include <termios.h>

namespace ktstr::cache {

Sandbox storeSandbox() {
  Sandbox sandbox("ktstr-cache");
  sandbox.allowBasics().allowHeap();
  for (const char* name :
       {"openat",  "close",   "read",       "readv",     "pread64",   "write",     "writev",     "pwrite64",
        "lseek",   "fstat",   "newfstatat", "statx",     "stat",      "lstat",     "getdents64", "mkdir",
        "mkdirat", "rename",  "renameat",   "renameat2", "unlink",    "unlinkat",  "rmdir",      "flock",
        "fsync",   "fchmod",  "getcwd",     "fcntl",     "access",    "faccessat", "readlink",   "fadvise64",
        "getuid",  "geteuid", "sysinfo",    "open",      "prlimit64", "fstatfs",   "ftruncate"}) {
    sandbox.allow(name);
  }
  sandbox.allow("ioctl", {{1, TCGETS}}).allow("ioctl", {{1, TIOCGWINSZ}});  // stdio asks what stdout is
  return sandbox.limit(RLIMIT_CORE, 0);
}

}  // namespace ktstr::cache
