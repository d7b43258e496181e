#include <csignal>
#include <cstring>

#include "orchestrator/judge_parts.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t maxSchedulerLogBytes = 64 * 1024;
constexpr uint32_t hangSamples = 10;  // a second at the monitor's usual period
constexpr double lockupMs =
    10'000;  // the kernel's shortest: a hard lockup (kernel/watchdog.c watchdog_thresh)

std::string signalName(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? text("SIG", name) : text("signal ", number);
}

// By a signal that is none of those by which it is asked to end, and ended if it does not.
bool crashed(uint32_t signal) {
  return signal != 0 && signal != SIGINT && signal != SIGTERM && signal != SIGKILL;
}

std::string endOf(rpc::GuestEvent::SchedulerExited::Reader exit) {
  return exit.getSignal() != 0 ? signalName(static_cast<int>(exit.getSignal()))
                               : text("exit code ", exit.getExitCode());
}

std::string tailEvidence(const Evidence& evidence) {
  return evidence.console.tail.empty() ? "the console is empty"
                                       : "last console lines:\n" + joinLines(evidence.console.tail);
}

// Everything that the kernel and the scheduler itself said about its end.
std::string schedulerEvidence(const Evidence& evidence, const GuestStory& story) {
  std::string lines;
  for (const SchedExtExit& exit : evidence.console.schedExtExits) {
    lines += text("kernel: BPF scheduler \"", exit.ops, "\" disabled (", exit.reason, ")");
    lines += exit.message.empty() ? "\n" : text(": ", exit.message, "\n");
  }
  if (!story.schedulerLog.empty())
    lines += "last lines of the scheduler's log:\n" + lastLines(story.schedulerLog, 10);
  if (lines.ends_with('\n')) lines.pop_back();
  return lines;
}

// How a guest failure is named and judged, and what to do about it.
struct FailureKind {
  rpc::GuestFailureName failure;
  const char* name;
  Outcome outcome;
  const char* hint;
  bool atStart = false;  // the scheduler never ran a task
};

constexpr const char* ourFault =
    "this is a fault of ktstr or of its image, not of the scheduler: see console.log of the run, and report "
    "it";

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
     "the workers are ktstr's own: look for an oops or an out-of-memory kill in console.log, or give "
     "--memory more"},
    {rpc::GuestFailureName::WORKER_STUCK, "worker-stuck", Outcome::FAIL,
     "the scheduler did not run it even to let it end: look at the monitor's samples of its CPU"},
    {rpc::GuestFailureName::MAILBOX_FULL, "mailbox-full", Outcome::INCONCLUSIVE,
     "the scenario reports more than the mailbox holds: use fewer workers or fewer steps"},
    {rpc::GuestFailureName::MOUNT_FAILED, "guest-mount-failed", Outcome::INFRASTRUCTURE,
     "the kernel lacks a file system that the agent needs (proc, sysfs, cgroup2): use another kernel or "
     "configuration"},
    {rpc::GuestFailureName::CGROUP_FAILED, "guest-cgroup-failed", Outcome::INFRASTRUCTURE,
     "the kernel lacks a cgroup controller that the scenario needs (cpuset, cpu): use another kernel or "
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
     "somebody left a task or a cgroup behind: a payload that starts a daemon has to end it"},
    {rpc::GuestFailureName::INTERNAL, "guest-internal", Outcome::INFRASTRUCTURE, ourFault},
};

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

// Blames the host if it is to be blamed for a wait of this length.
void weighHost(const Evidence& evidence, double waitMs, Finding& finding) {
  const HostLack lack = densestLack(evidence.monitor.starved, waitMs);
  if (lack.explains(waitMs)) blameHost(finding, lack);
}

// What RCU says if the timer of its kthread was set and never fired (rcu_check_gp_kthread_expired_fqs_timer()
// in kernel/rcu/tree_stall.h): timers are the machine's.
std::optional<std::string> lostTimer(const ConsoleReport& console) {
  for (const std::string& line : console.lockups) {
    if (line.find("kthread timer wakeup didn't happen") != std::string::npos) return line;
  }
  return std::nullopt;
}

void blameTimer(const ConsoleReport& console, Finding& finding) {
  const auto lost = lostTimer(console);
  if (!lost) return;
  finding.name = "timer-lost";
  finding.outcome = Outcome::INCONCLUSIVE;
  finding.message += "; the guest's kernel was not given a timer interrupt it had asked for: " + *lost;
  finding.hint = "the accelerator is to blame, not the scheduler: run it again, or with --accel kvm";
}

// QEMU's vCPU threads lose against the kernel's code patching now and then: one runs the breakpoint that
// another has taken away. No code of the kernel, nor of a scheduler, has an int3 of its own.
void blameEmulator(const Evidence& evidence, Finding& finding) {
  if (!evidence.emulated || finding.evidence.find("Oops: int3") == std::string::npos) return;
  finding.name = "stale-breakpoint";
  finding.outcome = Outcome::INCONCLUSIVE;
  finding.message += "; the emulator ran a breakpoint that the kernel's code patching had taken away";
  finding.hint =
      "neither the kernel nor the scheduler is to blame: run it again, with fewer vCPUs, or with --accel kvm";
}

void judgeHarness(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const Lifecycle& life = evidence.lifecycle;
  // A machine that breaks after the guest's last word takes no evidence with it.
  const Outcome machine = story.done ? Outcome::PASS : Outcome::INFRASTRUCTURE;
  if (life.error) {
    findings.add(
        {life.error->name(), outcomeOf(life.error->code()), life.error->message(), life.error->hint()});
  }
  if (life.interruptedBy) {
    findings.add({"interrupted", Outcome::INFRASTRUCTURE,
                  text("the run was interrupted by ", signalName(*life.interruptedBy), " in phase ",
                       phaseName(life.phase)),
                  "run it again"});
    return;  // Ctrl-C reaches the children as well
  }
  if (life.vmmDied || life.exit == rpc::ExitKind::ENGINE_KILLED) {
    findings.add({"vmm-killed", machine,
                  life.vmmDied ? text("the VMM was gone before the guest was done, in phase ",
                                      phaseName(life.phase), ": ", *life.vmmDied)
                               : text("the VMM's engine was killed in phase ", phaseName(life.phase), ": ",
                                      cleanText(life.exitDetail)),
                  "somebody or the kernel's OOM killer ended it: look at `journalctl -k`, free some memory, "
                  "run it again"});
  } else if (life.exit == rpc::ExitKind::ENGINE_FAILED) {
    findings.add(
        {"engine-failed", machine,
         text("the VMM's engine failed in phase ", phaseName(life.phase), ": ", cleanText(life.exitDetail)),
         "the message is the engine's: check that QEMU is 10.0 or later and that the host has the memory "
         "asked for"});
  }
  if (life.monitorDied) {
    findings.add({"monitor-died", Outcome::INFRASTRUCTURE,
                  text("the monitor ended before the machine did: ", *life.monitorDied),
                  "run with KTSTR_SANDBOX=log KTSTR_LOG=debug to see its last words"});
  }
  if (life.guestCorrupt) {
    findings.add(
        {"guest-corrupt", Outcome::INCONCLUSIVE,
         text("what the guest wrote into its mailbox is not valid: ", cleanText(*life.guestCorrupt)),
         "something in the guest overwrote memory that is not its own: nothing it reported can be believed"});
  }
}

void judgeConsole(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const ConsoleReport& console = evidence.console;
  if (console.noInit && !story.ready) {
    findings.add({"no-init", Outcome::INFRASTRUCTURE,
                  text("the kernel could not run /init: ", *console.noInit),
                  "the kernel did not take the initramfs: it needs CONFIG_BLK_DEV_INITRD and CONFIG_RD_LZ4, "
                  "and enough --memory"});
    findings.find("no-init")->evidence = joinLines(console.tail);
  } else if (console.panic) {
    Finding finding{console.initDied ? "init-died" : "kernel-panic",
                    console.initDied ? Outcome::INFRASTRUCTURE : Outcome::FAIL,
                    text(*console.panic, console.rip ? " at " + *console.rip : "", ", in phase ",
                         phaseName(evidence.lifecycle.phase), " under ", schedulerName(evidence)),
                    console.initDied
                        ? ourFault
                        : "the first lines below name the place; console.log has the whole trace"};
    finding.evidence = joinLines(console.panicLines);
    blameEmulator(evidence, finding);
    findings.add(std::move(finding));
  } else if (!console.oopses.empty()) {
    Finding finding{
        "kernel-oops", Outcome::FAIL, text(console.oopses.front(), console.rip ? " at " + *console.rip : ""),
        "the kernel went on, but nothing after this line can be trusted; console.log has the whole trace"};
    finding.evidence = joinLines(console.oopses);
    blameEmulator(evidence, finding);
    findings.add(std::move(finding));
  }
  if (!console.lockups.empty()) {
    Finding finding{
        "kernel-lockup", Outcome::FAIL, console.lockups.front(),
        "a CPU or task of the guest made no progress for many seconds; console.log has the trace"};
    finding.evidence = joinLines(console.lockups);
    weighHost(evidence, lockupMs, finding);
    blameTimer(console, finding);
    findings.add(std::move(finding));
  }
  if (!console.warnings.empty()) {
    findings.add({"kernel-warning", Outcome::PASS, console.warnings.front(), "see console.log of the run"});
    findings.find("kernel-warning")->evidence = joinLines(console.warnings);
  }
}

const SchedExtExit* unaskedExit(const Evidence& evidence) {
  for (const SchedExtExit& exit : evidence.console.schedExtExits) {
    if (!exit.asked()) return &exit;
  }
  return nullptr;
}

// The worker of ours that the kernel's message names by its pid.
std::optional<rpc::WorkerReport::Reader> workerNamed(const Evidence& evidence,
                                                     const SchedExtExit* kernelSays) {
  const auto pid = kernelSays != nullptr ? kernelSays->pid() : std::nullopt;
  for (const auto& report : workerReports(evidence.events)) {
    if (pid && report.getTid() == *pid) return report;
  }
  return std::nullopt;
}

void nameWorker(const Evidence& evidence, rpc::WorkerReport::Reader report, Finding& finding) {
  finding.step = cleanText(stepNameOf(evidence.scenario, report.getStep()));
  finding.cgroup = cleanText(report.getCgroup().cStr());
  finding.worker = text(cleanText(report.getWork().cStr()), "[", report.getIndex(), "]");
  finding.message +=
      text(", which is ", finding.worker, " in cgroup \"", finding.cgroup, "\" of ", finding.step);
}

// What the kernel says of the end, else how the process ended: when one dies, sched_ext is off before.
std::string describeEnd(const Evidence& evidence, const GuestStory& story, const SchedExtExit* kernelSays,
                        const std::string& told) {
  if (kernelSays != nullptr) {
    const std::string why = kernelSays->message.empty() ? "" : ": " + kernelSays->message;
    return text("the kernel disabled BPF scheduler \"", kernelSays->ops, "\" (", kernelSays->reason, ")",
                why);
  }
  return text(schedulerName(evidence),
              story.schedulerAttached ? " left while the scenario ran: " : " ended before it was attached: ",
              story.schedulerEnd.empty() ? told : "the process ended with " + story.schedulerEnd);
}

// One finding for the end of the scheduler, from whoever told of it: the agent's failure, its exit, the
// kernel.
void judgeSchedulerEnd(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  const SchedExtExit* kernelSays = unaskedExit(evidence);
  std::string told;
  bool exited = story.schedulerEnded;
  for (const auto& failure : story.failures) {
    if (failure.getName() == rpc::GuestFailureName::SCHEDULER_EXITED) {
      exited = true;
      told = cleanText(failure.getMessage().cStr());
    } else if (kindOf(failure.getName()).atStart) {
      return;  // judged as such
    }
  }
  if (!exited && kernelSays == nullptr) return;
  const bool atStart = !story.schedulerAttached && kernelSays == nullptr;
  Finding finding = failureFinding(
      atStart ? rpc::GuestFailureName::SCHEDULER_DIED_AT_START : rpc::GuestFailureName::SCHEDULER_EXITED,
      describeEnd(evidence, story, kernelSays, told));
  if (const auto worker = workerNamed(evidence, kernelSays)) nameWorker(evidence, *worker, finding);
  if (kernelSays != nullptr && !told.empty()) finding.message += "; " + told;
  if (kernelSays != nullptr && kernelSays->stalled()) {
    finding.name = "scheduler-stalled";
    finding.hint =
        "a runnable task was not dispatched within the watchdog's timeout: look for a lost task or an empty "
        "DSQ";
    if (const auto waited = kernelSays->stalledForMs()) weighHost(evidence, *waited, finding);
  }
  if (kernelSays != nullptr && kernelSays->message.find("RCU CPU stall") != std::string::npos) {
    blameTimer(evidence.console, finding);
  }
  finding.evidence = schedulerEvidence(evidence, story);
  findings.add(std::move(finding));
}

void judgeFailures(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  for (const auto& failure : story.failures) {
    switch (failure.getName()) {
      case rpc::GuestFailureName::NONE:
      case rpc::GuestFailureName::SCHEDULER_EXITED:  // judgeSchedulerEnd
      case rpc::GuestFailureName::MAILBOX_FULL:      // judgeDropped
      case rpc::GuestFailureName::WORKER_CRASHED:    // judgeWorkers, beside the worker's report
      case rpc::GuestFailureName::WORKER_STUCK:
        continue;
      default:
        break;
    }
    Finding finding = failureFinding(failure.getName(), cleanText(failure.getMessage().cStr()));
    if (finding.message.empty()) finding.message = "the guest gave no details";
    finding.cgroup = cleanText(failure.getCgroup().cStr());
    finding.worker = cleanText(failure.getWorker().cStr());
    if (!finding.cgroup.empty()) finding.step = stepNameOf(evidence.scenario, failure.getStep());
    if (finding.name.starts_with("sched")) finding.evidence = schedulerEvidence(evidence, story);
    findings.add(std::move(finding));
  }
}

void judgeDropped(const GuestStory& story, Findings& findings) {
  std::string told;
  for (const auto& failure : story.failures) {
    if (failure.getName() == rpc::GuestFailureName::MAILBOX_FULL)
      told = cleanText(failure.getMessage().cStr());
  }
  if (story.dropped == 0 && told.empty()) return;
  std::string message = story.dropped > 0
                            ? text(story.dropped, " events of the guest did not fit into the mailbox")
                            : "an event of the guest did not fit into the mailbox";
  if (!told.empty()) message += ": " + told;
  Finding finding = failureFinding(rpc::GuestFailureName::MAILBOX_FULL, message);
  if (story.dropped > 0) finding.value = static_cast<double>(story.dropped);
  finding.limit = 0;
  findings.add(std::move(finding));
}

const char* timeoutHint(RunPhase phase) {
  switch (phase) {
    case RunPhase::resolve:
      return "check the network, or name a kernel that is cached: `ktstr kernel list`";
    case RunPhase::image:
    case RunPhase::prepare:
      return "the host is very slow: check its disk and load";
    case RunPhase::boot:
      return "the console lines below show how far it came; on a loaded host run it again when it is idle, "
             "or give "
             "the kernel `earlyprintk=ttyS0` to see more";
    default:
      break;
  }
  return "the guest did not get through in time: look at the last samples for CPUs whose tasks wait";
}

void judgeTimeout(const Evidence& evidence, Findings& findings) {
  const Lifecycle& life = evidence.lifecycle;
  if (!life.timedOutAfterMs || life.vmmDied) return;
  const std::string phase = phaseName(life.phase);
  const bool inGuest = life.phase >= RunPhase::boot && life.phase <= RunPhase::collect;
  Finding finding{"timeout-" + phase, Outcome::INFRASTRUCTURE,
                  text("phase ", phase, " did not end within ", formatMs(*life.timedOutAfterMs)),
                  timeoutHint(life.phase)};
  finding.limit = *life.timedOutAfterMs;
  if (inGuest) finding.evidence = tailEvidence(evidence);
  if (inGuest && evidence.monitor.standstillSamples >= hangSamples) {
    finding.name = "guest-hang";
    finding.outcome = Outcome::FAIL;
    finding.message = text("the guest hangs in phase ", phase, " under ", schedulerName(evidence),
                           ": its time stood still over the last ", evidence.monitor.standstillSamples,
                           " samples, with busy CPUs");
    finding.hint =
        "interrupts are off or a lock is held on every CPU; samples.jsonl shows what each ran last";
  } else if (inGuest && life.phase != RunPhase::boot) {
    finding.outcome = Outcome::FAIL;
    weighHost(evidence, *life.timedOutAfterMs, finding);
  }
  findings.add(std::move(finding));
}

}  // namespace

GuestStory readEvents(std::span<const rpc::GuestEvent::Reader> events) {
  GuestStory story;
  std::string log;
  for (const auto& event : events) {
    switch (event.which()) {
      case rpc::GuestEvent::READY:
        story.ready = true;
        break;
      case rpc::GuestEvent::SCHEDULER_ATTACHED:
        story.schedulerAttached = true;
        break;
      case rpc::GuestEvent::SCHEDULER_EXITED: {
        const auto exit = event.getSchedulerExited();
        if (!exit.getExpected()) story.schedulerEnded = true;
        if (!exit.getExpected() || crashed(exit.getSignal())) story.schedulerEnd = endOf(exit);
        break;
      }
      case rpc::GuestEvent::SCHEDULER_LOG:
        log += event.getSchedulerLog().cStr();
        if (log.size() > 2 * maxSchedulerLogBytes) log.erase(0, log.size() - maxSchedulerLogBytes);
        break;
      case rpc::GuestEvent::SCENARIO_STARTED:
        story.scenarioStarted = true;
        story.scenarioStartNs = event.getAtNs();
        break;
      case rpc::GuestEvent::SCENARIO_ENDED:
        story.scenarioEnded = true;
        story.scenarioEndNs = event.getAtNs();
        break;
      case rpc::GuestEvent::FAILURE:
        story.failures.push_back(event.getFailure());
        break;
      case rpc::GuestEvent::DONE:
        story.done = true;
        story.dropped = event.getDone().getDropped();
        break;
      default:
        break;
    }
  }
  story.schedulerLog = cleanText(log);
  story.attached = attachedTimes(events);
  return story;
}

void judgeLifecycle(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  judgeConsole(evidence, story, findings);
  judgeSchedulerEnd(evidence, story, findings);
  judgeFailures(evidence, story, findings);
  judgeHarness(evidence, story, findings);
  judgeDropped(story, findings);
  if (!findings.any()) judgeTimeout(evidence, findings);
}

void judgeReportComplete(const Evidence& evidence, const GuestStory& story, Findings& findings) {
  if (findings.any() || (story.done && story.scenarioEnded)) return;
  const Lifecycle& life = evidence.lifecycle;
  std::string message =
      story.done ? "the guest ended without having run the scenario to its end"
                 : text("the guest never said that it was done; it was in phase ", phaseName(life.phase));
  if (life.exit == rpc::ExitKind::RESET) message += "; the machine was reset";
  if (life.exit == rpc::ExitKind::POWER_OFF) message += "; the machine was powered off";
  if (life.exit == rpc::ExitKind::STOPPED) message += "; the machine was stopped from outside";
  if (!life.exitDetail.empty()) message += " (" + cleanText(life.exitDetail) + ")";
  findings.add({"guest-report-missing", Outcome::INCONCLUSIVE, message,
                "a reset without a word is often a triple fault or too little --memory: see the console "
                "lines and events.jsonl"});
  findings.find("guest-report-missing")->evidence = tailEvidence(evidence);
}

}  // namespace ktstr
