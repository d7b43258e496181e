#include "orchestrator/judge_guest.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr uint32_t hangSamples = 10;  // a second at the monitor's usual period

std::string tailEvidence(const Evidence& evidence) {
  return evidence.console.tail.empty() ? "the console is empty"
                                       : "last console lines:\n" + joinLines(evidence.console.tail);
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
         evidence.emulated
             ? "the message is the engine's: check that QEMU is 10.0 or later and that the host has "
               "the memory asked for"
             : "the message is the engine's: check that this user may open /dev/kvm, that the host has "
               "the memory asked for, or run with --accel tcg"});
  }
  if (life.monitorDied) {
    findings.add({"monitor-died", Outcome::INFRASTRUCTURE,
                  text("the monitor ended before the machine did: ", *life.monitorDied),
                  "run with KTSTR_LOG=debug to see its last words"});
  }
  if (life.guestCorrupt) {
    findings.add(
        {"guest-corrupt", Outcome::INCONCLUSIVE,
         text("what the guest wrote into its mailbox is not valid: ", cleanText(*life.guestCorrupt)),
         "something in the guest overwrote memory that is not its own: nothing it reported can be believed"});
  }
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
  const bool inGuest = life.phase >= RunPhase::boot && life.phase <= RunPhase::baseline;
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
  } else if (life.phase == RunPhase::baseline) {  // not the scheduler's fault
    finding.outcome = Outcome::INCONCLUSIVE;
    finding.hint = "the scenario under EEVDF did not get through in time: compare without it first";
  } else if (inGuest && life.phase != RunPhase::boot) {
    finding.outcome = Outcome::FAIL;
    weighHost(evidence, *life.timedOutAfterMs, finding);
  }
  findings.add(std::move(finding));
}

}  // namespace

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
