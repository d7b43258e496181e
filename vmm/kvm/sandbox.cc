#include "vmm/kvm/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "vmm/kvm/ioctl.h"

namespace ktstr::vmm {
namespace {

constexpr unsigned long kVmIoctls[] = {KVM_SET_USER_MEMORY_REGION, KVM_CREATE_VCPU, KVM_ENABLE_CAP, KVM_IRQFD,
                                       kSetGsiRouting};
constexpr unsigned long kSetUpIoctls[] = {kSetCpuid2, kSetMsrs, KVM_GET_SREGS, KVM_SET_SREGS, KVM_SET_REGS};
constexpr unsigned long kVcpuIoctls[] = {KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS, kGetMsrs, KVM_KVMCLOCK_CTRL};

// As glibc makes threads (sysdeps/unix/sysv/linux/createthread.c); clone3 hides its flags from a filter.
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND |
                                  CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

void allowServing(Sandbox& sandbox, const std::vector<int>& listeners) {
  sandbox.allowBasics().allowHeap().allowEventLoop();
  sandbox.allow("tgkill", {{0, static_cast<uint64_t>(getpid())}});  // kicks vCPU threads
  for (const int listener : listeners) sandbox.allowAccept(listener);
  sandbox.allow("fcntl", {{1, F_ADD_SEALS}}).allow("fcntl", {{1, F_GET_SEALS}});
  sandbox.allow("sendto").allow("recvfrom");
}

}  // namespace

Sandbox setUpSandbox(const std::vector<int>& listeners, const std::vector<int>& vms) {
  Sandbox sandbox("ktstr-vmm");
  allowServing(sandbox, listeners);
  for (const int vm : vms) {
    for (const unsigned long number : kVmIoctls)
      sandbox.allow("ioctl", {{0, static_cast<uint64_t>(vm)}, {1, number}});
  }
  for (const unsigned long number : kSetUpIoctls) sandbox.allow("ioctl", {{1, number}});
  for (const unsigned long number : kVcpuIoctls) sandbox.allow("ioctl", {{1, number}});
  // RAM, mailbox, vCPU pages
  sandbox.allow("mmap", {{2, PROT_READ | PROT_WRITE}, {3, MAP_SHARED}});
  sandbox.allow("mmap", {{2, PROT_READ}, {3, MAP_SHARED}});  // base
  // Threads, and what they lock themselves down with.
  sandbox.refuse("clone3", ENOSYS).allow("clone", {{0, kThreadFlags}});
  for (const char* name : {"sched_setaffinity", "sched_getaffinity", "sched_setscheduler",
                           "sched_getscheduler", "sched_getparam"}) {
    sandbox.allow(name, {{0, 0}});  // of the thread itself
  }
  sandbox.allow("set_robust_list").allow("rseq").allow("sigaltstack");
  sandbox.allow("mmap", {{2, PROT_NONE}}).allow("mprotect", {{2, PROT_READ | PROT_WRITE}});  // stacks
  sandbox.allow("seccomp").allow("prctl", {{0, PR_SET_NO_NEW_PRIVS}}).allow("prctl", {{0, PR_SET_SECCOMP}});
  sandbox.allow("prctl", {{0, PR_GET_SECCOMP}});
  return sandbox.limit(RLIMIT_CORE, 0).limit(RLIMIT_NOFILE, 4096);
}

Sandbox servingSandbox(const std::vector<int>& listeners) {
  Sandbox sandbox("ktstr-vmm");
  allowServing(sandbox, listeners);
  return sandbox.thisThreadOnly();
}

Sandbox vcpuSandbox(int vcpu, const std::vector<int>& lines, const std::vector<int>& events,
                    std::optional<int> routed) {
  Sandbox sandbox("ktstr-vmm vCPU");
  for (const unsigned long number : kVcpuIoctls)
    sandbox.allow("ioctl", {{0, static_cast<uint64_t>(vcpu)}, {1, number}});
  if (routed) sandbox.allow("ioctl", {{0, static_cast<uint64_t>(*routed)}, {1, kSetGsiRouting}});
  for (const int line : lines) {
    sandbox.allow("sendto", {{0, static_cast<uint64_t>(line)}});
    sandbox.allow("recvfrom", {{0, static_cast<uint64_t>(line)}});
  }
  for (const int event : events) sandbox.allow("write", {{0, static_cast<uint64_t>(event)}});
  sandbox.allowHeap().allow("munmap").allow("madvise").allow("brk").allow("futex");
  sandbox.allow("rt_sigreturn").allow("rt_sigprocmask").allow("exit").allow("clock_gettime");
  return sandbox.thisThreadOnly();
}

}  // namespace ktstr::vmm
