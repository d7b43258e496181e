#include "orchestrator/judge_guest.h"

namespace ktstr {

namespace {

constexpr FailureKind failureKinds[] = {
    {rpc::GuestFailureName::SCHEDULER_MISSING, "scheduler-missing", Outcome::INFRASTRUCTURE,
     "check that the binary is for this architecture and that all its libraries are found on the host", true},
    {rpc::GuestFailureName::SCHEDULER_DIED_AT_START, "scheduler-died-at-start", Outcome::FAIL,
     "read the log above: most often the kernel refused its BPF program or an argument is wrong", true},
    {rpc::GuestFailureName::SCHEDULER_NOT_ATTACHED, "scheduler-not-attached", Outcome::FAIL,
     "the process runs but registered no sched_ext_ops: check its arguments, and whether it is a scheduler "
     "at all",
     true},
    {rpc::GuestFailureName::SCHED_EXT_UNSUPPORTED, "sched-ext-unsupported", Outcome::SKIP,
     "use a kernel built with CONFIG_SCHED_CLASS_EXT (6.12 or later), such as --kernel debian:7.3, or leave "
     "out "
     "--scheduler to run under EEVDF",
     true},
    {rpc::GuestFailureName::SCHEDULER_EXITED, "scheduler-exited", Outcome::FAIL,
     "the reason in parentheses is the kernel's; the lines above are the scheduler's own"},
    {rpc::GuestFailureName::WORKER_CRASHED, "worker-crashed", Outcome::FAIL,
     "look for an oops or an out-of-memory kill in console.log, or give --memory more; a custom function is "
     "its author's"},
    {rpc::GuestFailureName::WORKER_STUCK, "worker-stuck", Outcome::FAIL,
     "the scheduler did not run it even to let it end: look at the monitor's samples of its CPU; or a custom "
     "function does not ask whether to stop"},
    {rpc::GuestFailureName::MAILBOX_FULL, "mailbox-full", Outcome::INCONCLUSIVE,
     "the scenario reports more than the mailbox holds: use fewer workers or fewer steps"},
    {rpc::GuestFailureName::MOUNT_FAILED, "guest-mount-failed", Outcome::INFRASTRUCTURE,
     "the kernel lacks a file system that the agent needs (proc, sysfs, cgroup2): use another kernel or "
     "configuration"},
    {rpc::GuestFailureName::CGROUP_FAILED, "guest-cgroup-failed", Outcome::INFRASTRUCTURE,
     "a limit of a cgroup above forbids it, or the kernel lacks a controller that the scenario needs: use "
     "another kernel or "
     "scenario"},
    {rpc::GuestFailureName::ORDERS_INVALID, "guest-orders-invalid", Outcome::INFRASTRUCTURE, ourFault},
    {rpc::GuestFailureName::SPAWN_FAILED, "guest-spawn-failed", Outcome::INFRASTRUCTURE,
     "the guest could not start a worker: give --memory more, or use fewer workers"},
    {rpc::GuestFailureName::WORKER_SETUP_FAILED, "worker-setup-failed", Outcome::INFRASTRUCTURE,
     "the kernel refused a setting that the scenario asks for: use another kernel, or leave the setting out"},
    {rpc::GuestFailureName::AFFINITY_CHANGED, "affinity-changed", Outcome::FAIL,
     "somebody called sched_setaffinity(2) on a worker: a scheduler's process, or a payload"},
    {rpc::GuestFailureName::PAYLOAD_FAILED, "payload-failed", Outcome::FAIL,
     "its output is in the record's payloads; payload.exitCode says which end is the right one"},
    {rpc::GuestFailureName::SCHEDULER_NOT_DETACHED, "scheduler-not-detached", Outcome::FAIL,
     "it must leave when it gets SIGINT, and its sched_ext_ops with it: does something else hold them?"},
    {rpc::GuestFailureName::TEARDOWN_INCOMPLETE, "teardown-incomplete", Outcome::FAIL,
     "somebody left a task or a cgroup behind: a payload or a custom function that starts a process has to "
     "end it"},
    {rpc::GuestFailureName::SETTING_REFUSED, "setting-refused", Outcome::INFRASTRUCTURE,
     "this kernel has no such file or does not take the value: correct --sysctl, --file, --enable or "
     "--disable"},
    {rpc::GuestFailureName::INTERNAL, "guest-internal", Outcome::INFRASTRUCTURE, ourFault},
};

}  // namespace

FailureKind kindOf(rpc::GuestFailureName failure) {
  for (const FailureKind& kind : failureKinds) {
    if (kind.failure == failure) return kind;
  }
  return {failure, "guest-internal", Outcome::INFRASTRUCTURE, ourFault};
}

Finding failureFinding(rpc::GuestFailureName failure, std::string message) {
  const FailureKind kind = kindOf(failure);
  Finding finding;
  finding.name = kind.name;
  finding.outcome = kind.outcome;
  finding.message = std::move(message);
  finding.hint = kind.hint;
  return finding;
}

}  // namespace ktstr
