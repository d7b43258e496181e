#include "orchestrator/judge_guest.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr double lockupMs =
    10'000;  // the kernel's shortest: a hard lockup (kernel/watchdog.c watchdog_thresh)

// What RCU says if the timer of its kthread was set and never fired (rcu_check_gp_kthread_expired_fqs_timer()
// in kernel/rcu/tree_stall.h): timers are the machine's.
std::optional<std::string> lostTimer(const ConsoleReport& console) {
  for (const std::string& line : console.lockups) {
    if (line.find("kthread timer wakeup didn't happen") != std::string::npos) return line;
  }
  return std::nullopt;
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

}  // namespace

// Blames the host if it is to be blamed for a wait of this length.
void weighHost(const Evidence& evidence, double waitMs, Finding& finding) {
  const HostLack lack = densestLack(evidence.monitor.starved, waitMs);
  if (lack.explains(waitMs)) blameHost(finding, lack);
}

void blameTimer(const ConsoleReport& console, Finding& finding) {
  const auto lost = lostTimer(console);
  if (!lost) return;
  finding.name = "timer-lost";
  finding.outcome = Outcome::INCONCLUSIVE;
  finding.message += "; the guest's kernel was not given a timer interrupt it had asked for: " + *lost;
  finding.hint = "the accelerator is to blame, not the scheduler: run it again, or with --accel kvm";
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

}  // namespace ktstr
