#include "orchestrator/judge_guest.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

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

}  // namespace

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
  finding.evidence = writesBefore(evidence, story.schedulerEndNs) + schedulerEvidence(evidence, story);
  findings.add(std::move(finding));
}

}  // namespace ktstr
