#include "protocol/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/log.h"
#include "protocol/text.h"
#ifdef KTSTR_ADDRESS_SANITIZER
#include "protocol/sandbox_sanitizer.h"
#endif

namespace ktstr {
namespace {

// Syscalls that Debian 12's libseccomp 2.5.4 (Linux 5.17) has no number for, and its libc no use.
constexpr std::array newerSyscalls = {"cachestat",  "fchmodat2",        "futex_requeue", "futex_wait",
                                      "futex_wake", "map_shadow_stack", "mseal"};

Error failed(const std::string& doing, int errnum) {
  return errnoError("sandbox-failed", doing, "run ktstr on a kernel with seccomp filters", errnum);
}

uint64_t maskOf(const ArgumentRule& rule) {
  const uint64_t all = rule.wide ? ~uint64_t{0} : 0xffffffff;
  return rule.mask == 0 ? all : rule.mask & all;
}

scmp_arg_cmp toSeccomp(const ArgumentRule& rule) {
  return {rule.index, SCMP_CMP_MASKED_EQ, maskOf(rule), rule.value & maskOf(rule)};
}

// ---- the last word

// What the SIGSYS handler needs, made before the filter is there: in a signal handler nothing can be looked
// up.
std::vector<std::string> syscallNames;
thread_local const char* violator = nullptr;  // of a thread with a sandbox of its own
std::string wholeProcess;                     // of the one that covers all threads

std::array<unsigned long long, 6> argumentsOf(const mcontext_t& machine) {
  const auto& r = machine.gregs;
  const auto argument = [&r](int index) { return static_cast<unsigned long long>(r[index]); };
  return {argument(REG_RDI), argument(REG_RSI), argument(REG_RDX),
          argument(REG_R10), argument(REG_R8),  argument(REG_R9)};
}

// glibc's snprintf() takes neither heap nor lock for these conversions.
void onViolation(int, siginfo_t* info, void* context) {
  const auto number = static_cast<size_t>(info->si_syscall);
  const auto a = argumentsOf(static_cast<ucontext_t*>(context)->uc_mcontext);
  char line[512], unknown[32];
  snprintf(unknown, sizeof unknown, "0x%zx", number);
  const int size =
      snprintf(line, sizeof line,
               "%s: seccomp: forbidden syscall %s(0x%llx, 0x%llx, 0x%llx, 0x%llx, 0x%llx, 0x%llx)\n",
               violator != nullptr ? violator : wholeProcess.c_str(),
               number < syscallNames.size() ? syscallNames[number].c_str() : unknown, a[0], a[1], a[2], a[3],
               a[4], a[5]);
  (void)!write(2, line, std::min(sizeof line - 1, static_cast<size_t>(size)));
  // SIGSYS is blocked here: one more violation kills, by SIGSYS.
  for (;;) syscall(0x7fff);
}

void reportViolations(const std::string& name) {
  if (!wholeProcess.empty()) {  // a further filter, for this thread alone
    violator = strdup(name.c_str());
    return;
  }
  wholeProcess = name;
  for (int number = 0; number < 512; ++number) {
    const std::unique_ptr<char, decltype(&free)> known(
        seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number), free);
    syscallNames.push_back(known ? known.get() : hex(static_cast<uint64_t>(number)));
  }
  struct sigaction action {};
  action.sa_sigaction = onViolation;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, nullptr) != 0) throw failed("handle SIGSYS", errno);
}

bool quiet() {
  const char* mode = getenv("KTSTR_SANDBOX");
  return mode != nullptr && strcmp(mode, "quiet") == 0;
}

// ---- privileges

// With the permitted set goes the ambient one (capabilities(7)).
void dropCapabilities() {
  // Without CAP_SETPCAP the bounding set stays; no_new_privs then keeps exec from granting what is in it.
  for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number) {
    prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
  }
  __user_cap_header_struct self{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capset, &self, none) != 0) throw failed("drop the capabilities", errno);
}

// What each version of the Landlock ABI can forbid (Documentation/userspace-api/landlock.rst): rights are
// bits from 0 on, 13 in version 1, then LANDLOCK_ACCESS_FS_REFER, _TRUNCATE, and _IOCTL_DEV with version 5.
uint64_t landlockRights(long version) {
  constexpr unsigned counts[] = {13, 14, 15, 15, 16};
  return (uint64_t{1} << counts[std::min(version, 5L) - 1]) - 1;
}

// Needs no_new_privs.
void forbidPaths() {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) {  // ENOSYS: not built in; EOPNOTSUPP: not enabled at boot
    log::info(text("no Landlock, seccomp alone forbids paths: ", strerror(errno)));
    return;
  }
  landlock_ruleset_attr rights{};
  rights.handled_access_fs = landlockRights(version);
  const Fd ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &rights, sizeof rights, 0)));
  if (!ruleset || syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    throw failed(text("apply an empty Landlock ruleset of version ", version), errno);
  }
}

}  // namespace

Sandbox::Sandbox(std::string process) : process_(std::move(process)) {
  allow("write", {{0, 2}});  // the last word
}

Sandbox& Sandbox::allow(const std::string& syscall, std::vector<ArgumentRule> rules) {
  if (seccomp_syscall_resolve_name(syscall.c_str()) == __NR_SCMP_ERROR) {
    const bool newer = std::find(newerSyscalls.begin(), newerSyscalls.end(), syscall) != newerSyscalls.end();
    if (newer) return *this;
    throw Error(ExitCode::infrastructure, "sandbox-invalid", "no syscall has the name " + syscall);
  }
  rules_.push_back({syscall, std::move(rules)});
  return *this;
}

Sandbox& Sandbox::refuse(const std::string& syscall, int errnum) {
  rules_.push_back({syscall, {}, errnum});
  return *this;
}

Sandbox& Sandbox::thisThreadOnly() {
  allThreads_ = false;
  return *this;
}

Sandbox& Sandbox::allowBasics() {
  for (const char* name :
       {"exit", "exit_group", "rt_sigreturn", "restart_syscall", "clock_gettime", "clock_getres",
        "gettimeofday", "time", "clock_nanosleep", "nanosleep", "sched_yield", "futex", "getrandom", "brk",
        "munmap", "madvise", "gettid", "getpid", "rt_sigprocmask"}) {
    allow(name);
  }
  const auto self = static_cast<uint64_t>(getpid());
  allow("tgkill", {{0, self}});           // abort()
  allow("rt_sigaction", {{0, SIGABRT}});  // abort()
  return allow("write", {{0, 2}}).allow("writev", {{0, 2}});
}

Sandbox& Sandbox::allowHeap() {
  allow("mmap", {{2, 0, PROT_EXEC}, {3, MAP_ANONYMOUS, MAP_ANONYMOUS}});
  allow("mprotect", {{2, 0, PROT_EXEC}});
  return allow("mremap");
}

Sandbox& Sandbox::allowEventLoop() {
  for (const char* name : {"epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "ppoll",
                           "signalfd4", "rt_sigtimedwait", "read", "readv", "recvmsg", "write", "writev",
                           "sendmsg", "close", "shutdown", "fstat"}) {
    allow(name);
  }
  // glibc 2.33 to 2.38 make fstat() from it.
  allow("newfstatat", {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}});
  for (const int command : {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC}) {
    allow("fcntl", {{1, static_cast<uint64_t>(command)}});
  }
  return allow("getsockopt", {{1, SOL_SOCKET}, {2, SO_SNDBUF}});  // Cap'n Proto's send window
}

Sandbox& Sandbox::allowAccept(int listener) {
  allow("geteuid");
  allow("accept4", {{0, static_cast<uint64_t>(listener)}});
  return allow("getsockopt", {{1, SOL_SOCKET}, {2, SO_PEERCRED}});
}

Sandbox& Sandbox::limit(int resource, rlim_t value) {
  limits_.emplace_back(resource, value);
  return *this;
}

Sandbox& Sandbox::dropPrivileges() {
  dropPrivileges_ = true;
  return *this;
}

void Sandbox::lockDown() {
  const bool naming = !quiet();
  const std::unique_ptr<void, decltype(&seccomp_release)> filter(
      seccomp_init(naming ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS), seccomp_release);
  if (filter == nullptr) throw failed("make a seccomp filter", ENOMEM);
  const auto check = [](int result, const std::string& doing) {
    if (result < 0) throw failed(doing, -result);
  };
  check(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "set the action");
  check(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, allThreads_ ? 1 : 0), "cover all threads");
#ifdef KTSTR_ADDRESS_SANITIZER
  makeRoomForSanitizer(*this);
#endif
  for (const auto& rule : rules_) {
    std::vector<scmp_arg_cmp> arguments;
    for (const auto& argument : rule.arguments) arguments.push_back(toSeccomp(argument));
    check(seccomp_rule_add_array(
              filter.get(),
              rule.refusal == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(static_cast<uint32_t>(rule.refusal)),
              seccomp_syscall_resolve_name(rule.syscall.c_str()), static_cast<unsigned>(arguments.size()),
              arguments.data()),
          "add the rule for " + rule.syscall);
  }
  if (naming) reportViolations(process_);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw failed("set no_new_privs", errno);
  for (const auto& [resource, value] : limits_) {
    rlimit both{};
    getrlimit(static_cast<__rlimit_resource>(resource), &both);
    both.rlim_cur = both.rlim_max = std::min(value, both.rlim_max);
    if (setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0) {
      throw failed(text("limit resource ", resource, " to ", value), errno);
    }
  }
  if (dropPrivileges_) {
    dropCapabilities();
    forbidPaths();
  }
  check(seccomp_load(filter.get()), "install the seccomp filter");
}

std::vector<std::string> Sandbox::describe() const {
  std::set<std::string> lines;
  for (const auto& rule : rules_) {
    std::string line = rule.syscall;
    if (rule.refusal != 0) line += text(" fails with errno ", rule.refusal);
    for (const auto& argument : rule.arguments) {
      const std::string mask = argument.mask == 0 ? "" : "&" + hex(argument.mask);
      line += text(" arg", argument.index, mask, "==", argument.value);
    }
    lines.insert(std::move(line));
  }
  return {lines.begin(), lines.end()};
}

size_t Sandbox::syscallCount() const {
  std::set<std::string> names;
  for (const auto& rule : rules_) names.insert(rule.syscall);
  return names.size();
}

}  // namespace ktstr
