#include <csignal>

#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using rpc::GuestEvent;
using rpc::GuestFailureName;
using ::testing::HasSubstr;

// The guest got as far as its first `events` (ready, attached, started, ...) and `phase`.
GoodRun brokenOff(size_t events, RunPhase phase) {
  GoodRun run;
  run.keepFirst(events);
  run.lifecycle.phase = phase;
  return run;
}

TEST(JudgeGuest, passesAGoodRun) {
  expectPass(GoodRun().judge());
  expectPass(GoodRun("").judge());
}

TEST(JudgeGuest, namesAKernelPanicWithPlaceAndPhase) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.console =
      "[    3.1] BUG: unable to handle page fault for address: ffffffff\n[    3.1] RIP: "
      "0010:sched_tick+0x1f/0x2a0\n"
      "[    3.2] Kernel panic - not syncing: Fatal exception in interrupt\n";
  const Finding finding = expectOnly(run.judge(), "kernel-panic", Outcome::FAIL);
  EXPECT_THAT(finding.message,
              HasSubstr("Fatal exception in interrupt at sched_tick+0x1f/0x2a0, in phase scenario"));
  EXPECT_THAT(finding.evidence, HasSubstr("unable to handle page fault"));
}

TEST(JudgeGuest, namesAKernelWithoutInit) {
  for (const char* line :
       {"Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.",
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "Failed to execute /init (error -2)"}) {
    GoodRun run = brokenOff(0, RunPhase::boot);
    run.console = line;
    expectOnly(run.judge(), "no-init", Outcome::INFRASTRUCTURE);
  }
}

TEST(JudgeGuest, namesADeadAgent) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.console = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n";
  expectOnly(run.judge(), "init-died", Outcome::INFRASTRUCTURE);
}

TEST(JudgeGuest, namesAnOopsThatTheKernelSurvived) {
  GoodRun run;
  run.console =
      "BUG: kernel NULL pointer dereference, address: 0000000000000008\nOops: 0000 [#1] SMP\nRIP: "
      "0010:f+0x1/0x2\n";
  expectOnly(run.judge(), "kernel-oops", Outcome::FAIL);
}

TEST(JudgeGuest, blamesTheHostForALockupOnlyIfItStarvedTheMachine) {
  GoodRun run;
  run.console = "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker:1]\n";
  expectOnly(run.judge(), "kernel-lockup", Outcome::FAIL);
  run.monitor.starved = {{1, 0, 5000, 0}};
  expectOnly(run.judge(), "kernel-lockup", Outcome::FAIL);
  run.monitor.starved = {{1, 0, 5001, 0}};
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
}

TEST(JudgeGuest, blamesTheMachineForATimerThatNeverFired) {
  GoodRun run;
  run.console =
      "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
      "rcu: rcu_preempt kthread starved for 5252 jiffies! g2345 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 "
      "->cpu=0\n";
  expectOnly(run.judge(), "kernel-lockup", Outcome::FAIL);
  run.console +=
      "rcu: rcu_preempt kthread timer wakeup didn't happen for 5250 jiffies! g2345 f0x0\n"
      "sched_ext: BPF scheduler \"simple\" disabled (runtime error)\n"
      "sched_ext: simple: RCU CPU stall on CPUs ()\n";
  const Judgement judgement = run.judge();  // of the stall, and of the scheduler that was ejected for it
  EXPECT_EQ(judgement.outcome, Outcome::INCONCLUSIVE);
  ASSERT_EQ(judgement.findings.size(), 2u);
  for (const Finding& finding : judgement.findings) {
    EXPECT_EQ(finding.name, "timer-lost");
    EXPECT_THAT(finding.message, HasSubstr("timer wakeup didn't happen for 5250 jiffies"));
  }
}

TEST(JudgeGuest, blamesTheEmulatorForABreakpointThatIsOver) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.console =
      "Oops: int3: 0000 [#1] SMP NOPTI\nRIP: 0010:tick_nohz_stop_tick+0x1/0x2\n"
      "Kernel panic - not syncing: Fatal exception in interrupt\n";
  expectOnly(run.judge(), "stale-breakpoint", Outcome::INCONCLUSIVE);
  run.emulated = false;
  expectOnly(run.judge(), "kernel-panic", Outcome::FAIL);
}

TEST(JudgeGuest, onlyRemarksOnAKernelWarning) {
  GoodRun run;
  run.console = "WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:1 f+0x1/0x2\n";
  expectOnly(run.judge(), "kernel-warning", Outcome::PASS);
}

TEST(JudgeGuest, namesEveryFailureOfTheAgent) {
  struct Row {
    GuestFailureName failure;
    const char* name;
    Outcome outcome;
  };
  for (const Row& row :
       std::vector<Row>{{GuestFailureName::SCHEDULER_MISSING, "scheduler-missing", Outcome::INFRASTRUCTURE},
                        {GuestFailureName::SCHEDULER_DIED_AT_START, "scheduler-died-at-start", Outcome::FAIL},
                        {GuestFailureName::SCHEDULER_NOT_ATTACHED, "scheduler-not-attached", Outcome::FAIL},
                        {GuestFailureName::SCHED_EXT_UNSUPPORTED, "sched-ext-unsupported", Outcome::SKIP},
                        {GuestFailureName::MOUNT_FAILED, "guest-mount-failed", Outcome::INFRASTRUCTURE},
                        {GuestFailureName::CGROUP_FAILED, "guest-cgroup-failed", Outcome::INFRASTRUCTURE},
                        {GuestFailureName::ORDERS_INVALID, "guest-orders-invalid", Outcome::INFRASTRUCTURE},
                        {GuestFailureName::SPAWN_FAILED, "guest-spawn-failed", Outcome::INFRASTRUCTURE},
                        {GuestFailureName::INTERNAL, "guest-internal", Outcome::INFRASTRUCTURE}}) {
    GoodRun run = brokenOff(1, RunPhase::scheduler);
    run.failure(row.failure, "details of it");
    run.event().initDone();
    const Finding finding = expectOnly(run.judge(), row.name, row.outcome);
    EXPECT_EQ(finding.message, "details of it");
  }
}

TEST(JudgeGuest, showsTheLogOfASchedulerThatDiedAtStart) {
  GoodRun run = brokenOff(1, RunPhase::scheduler);
  run.event().setSchedulerLog("libbpf: prog 'simple_enqueue': BPF program load failed\n");
  run.event().initSchedulerExited().setExitCode(1);
  run.failure(GuestFailureName::SCHEDULER_DIED_AT_START, "exit code 1");
  run.event().initDone();
  const Finding finding = expectOnly(run.judge(), "scheduler-died-at-start", Outcome::FAIL);
  EXPECT_THAT(finding.evidence, HasSubstr("BPF program load failed"));
}

TEST(JudgeGuest, namesADeathAtStartFromTheExitAlone) {
  GoodRun run = brokenOff(1, RunPhase::scheduler);
  run.event().initSchedulerExited().setSignal(SIGSEGV);
  run.event().initDone();
  EXPECT_THAT(expectOnly(run.judge(), "scheduler-died-at-start", Outcome::FAIL).message,
              HasSubstr("SIGSEGV"));
}

TEST(JudgeGuest, namesASchedulerThatExitedOnceWhoeverTells) {
  GoodRun byEvent;
  byEvent.event().initSchedulerExited().setExitCode(3);
  EXPECT_THAT(expectOnly(byEvent.judge(), "scheduler-exited", Outcome::FAIL).message,
              HasSubstr("exit code 3"));

  GoodRun byAll;
  byAll.event().initSchedulerExited().setExitCode(3);
  byAll.failure(GuestFailureName::SCHEDULER_EXITED, "pid 42 ended");
  byAll.console =
      "sched_ext: BPF scheduler \"simple\" disabled (runtime error)\nsched_ext: simple: bad DSQ\n";
  const Finding finding = expectOnly(byAll.judge(), "scheduler-exited", Outcome::FAIL);
  EXPECT_THAT(finding.message, HasSubstr("(runtime error): bad DSQ; pid 42 ended"));

  GoodRun byKernel;
  byKernel.console = "sched_ext: BPF scheduler \"simple\" disabled (scx_bpf_error)\n";
  expectOnly(byKernel.judge(), "scheduler-exited", Outcome::FAIL);
}

TEST(JudgeGuest, letsASchedulerLeaveWhenAsked) {
  GoodRun run;
  run.event().initSchedulerExited().setExpected(true);
  run.console = "sched_ext: BPF scheduler \"simple\" disabled (unregistered from user space)\n";
  expectPass(run.judge());
}

TEST(JudgeGuest, callsTheWatchdogsVerdictAStall) {
  GoodRun run;
  run.event().initSchedulerExited().setExitCode(0);
  run.console =
      "sched_ext: BPF scheduler \"simple\" disabled (runnable task stall)\n"
      "sched_ext: simple: spinWait[77] failed to run for 5.001s\n";
  EXPECT_THAT(expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL).message,
              HasSubstr("failed to run for 5.001s"));
  run.monitor.starved = {{1, 1000, 3500, 9}};
  expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL);
  run.monitor.starved = {{1, 1000, 3600, 9}};
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
}

TEST(JudgeGuest, namesTheWorkerWhosePidTheKernelTells) {
  GoodRun run;
  run.event().initSchedulerExited().setExitCode(0);
  run.report(0).setPid(104);  // both are threads of it
  run.report(1).setPid(104);
  run.report(0).setTid(104);
  run.report(1).setTid(107);
  run.console =
      "sched_ext: BPF scheduler \"simple\" disabled (runtime error)\n"
      "sched_ext: simple: SCX_DSQ_LOCAL[_ON] target CPU 1 not allowed for init[107]\n";
  Finding finding = expectOnly(run.judge(), "scheduler-exited", Outcome::FAIL);
  EXPECT_EQ(finding.cgroup, "a");
  EXPECT_EQ(finding.worker, "spinWait[1]");
  EXPECT_EQ(finding.step, "main");
  EXPECT_THAT(finding.message, HasSubstr("init[107], which is spinWait[1] in cgroup \"a\" of main"));
  run.report(1).setTid(105);
  finding = expectOnly(run.judge(), "scheduler-exited", Outcome::FAIL);
  EXPECT_EQ(finding.worker, "");
}

TEST(JudgeGuest, saysHowTheProcessDiedAndNotThatItsOpsWentFirst) {
  GoodRun run;
  run.failure(GuestFailureName::SCHEDULER_EXITED, "simple is no longer attached");
  auto exited = run.event().initSchedulerExited();  // a dying process can be asked to end, too
  exited.setSignal(SIGSEGV);
  exited.setExpected(true);
  run.console = "sched_ext: BPF scheduler \"simple\" disabled (unregistered from user space)\n";
  EXPECT_EQ(expectOnly(run.judge(), "scheduler-exited", Outcome::FAIL).message,
            "scx_simple left while the scenario ran: the process ended with SIGSEGV");
}

TEST(JudgeGuest, doesNotListWhoWaitedInAStallThatIsNamed) {
  GoodRun run;
  run.event().initSchedulerExited().setExitCode(0);
  run.report(0).setIterations(0);
  run.report(0).setWorkUnits(0);
  run.report(1).setCpuNs(2'000'000'000);
  run.report(2).setMaxGapNs(5'000'000'000);
  EXPECT_EQ(run.judge().findings.size(), 3u) << describe(run.judge());
  run.console =
      "sched_ext: BPF scheduler \"simple\" disabled (runnable task stall)\n"
      "sched_ext: simple: watchdog failed to check in for 5.001s\n";
  expectOnly(run.judge(), "scheduler-stalled", Outcome::FAIL);
}

TEST(JudgeGuest, namesAFullMailboxByEventAndByCount) {
  GoodRun byFailure;
  byFailure.failure(GuestFailureName::MAILBOX_FULL);
  expectOnly(byFailure.judge(), "mailbox-full", Outcome::INCONCLUSIVE);
  GoodRun counted;
  counted.event().initDone().setDropped(7);
  EXPECT_EQ(expectOnly(counted.judge(), "mailbox-full", Outcome::INCONCLUSIVE).value, 7);
}

TEST(JudgeGuest, namesAGuestThatEndedWithoutItsReport) {
  GoodRun silent = brokenOff(3, RunPhase::scenario);
  EXPECT_THAT(expectOnly(silent.judge(), "guest-report-missing", Outcome::INCONCLUSIVE).message,
              HasSubstr("the machine was reset"));
  GoodRun unfinished;
  unfinished.drop(GuestEvent::SCENARIO_ENDED);
  expectOnly(unfinished.judge(), "guest-report-missing", Outcome::INCONCLUSIVE);
}

TEST(JudgeGuest, namesACorruptMailbox) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.lifecycle.guestCorrupt = "record at 4096 has length 4000000000";
  expectOnly(run.judge(), "guest-corrupt", Outcome::INCONCLUSIVE);
}

TEST(JudgeGuest, namesWhoKilledTheMachine) {
  GoodRun vmm = brokenOff(3, RunPhase::scenario);
  vmm.lifecycle.exit = rpc::ExitKind::ENGINE_KILLED;
  vmm.lifecycle.vmmDied = "killed by SIGKILL";
  EXPECT_THAT(expectOnly(vmm.judge(), "vmm-killed", Outcome::INFRASTRUCTURE).message,
              HasSubstr("killed by SIGKILL"));
  GoodRun qemu = brokenOff(3, RunPhase::scenario);
  qemu.lifecycle.exit = rpc::ExitKind::ENGINE_KILLED;
  qemu.lifecycle.exitDetail = "QEMU: killed by SIGTERM";
  EXPECT_THAT(expectOnly(qemu.judge(), "vmm-killed", Outcome::INFRASTRUCTURE).message, HasSubstr("SIGTERM"));
  GoodRun failed = brokenOff(0, RunPhase::boot);
  failed.lifecycle.exit = rpc::ExitKind::ENGINE_FAILED;
  failed.lifecycle.exitDetail = "cannot set up guest memory";
  EXPECT_THAT(expectOnly(failed.judge(), "engine-failed", Outcome::INFRASTRUCTURE).message,
              HasSubstr("cannot set up guest memory"));
  for (const bool emulated : {true, false}) {  // each hint is of its engine
    failed.emulated = emulated;
    EXPECT_THAT(expectOnly(failed.judge(), "engine-failed", Outcome::INFRASTRUCTURE).hint,
                HasSubstr(emulated ? "QEMU" : "/dev/kvm"));
  }
}

TEST(JudgeGuest, onlyRemarksOnAMachineThatBreaksAfterTheGuestsLastWord) {
  GoodRun run;
  run.lifecycle.exit = rpc::ExitKind::ENGINE_FAILED;
  expectOnly(run.judge(), "engine-failed", Outcome::PASS);
}

TEST(JudgeGuest, namesADeadMonitor) {
  GoodRun run;
  run.monitor = {};
  run.lifecycle.monitorDied = "killed by SIGSYS";
  expectOnly(run.judge(), "monitor-died", Outcome::INFRASTRUCTURE);
}

TEST(JudgeGuest, namesAnInterruptionAndNotWhatItBroke) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.lifecycle.interruptedBy = SIGINT;
  run.lifecycle.vmmDied = run.lifecycle.monitorDied = "killed by SIGINT";
  EXPECT_THAT(expectOnly(run.judge(), "interrupted", Outcome::INFRASTRUCTURE).message,
              HasSubstr("SIGINT in phase scenario"));
}

TEST(JudgeGuest, keepsNameAndCodeOfAnErrorOfTheHarness) {
  GoodRun run = brokenOff(0, RunPhase::resolve);
  run.lifecycle.exit.reset();
  run.lifecycle.error = Error(ExitCode::infrastructure, "disk-full", "write 4096 bytes", "free some space");
  expectOnly(run.judge(), "disk-full", Outcome::INFRASTRUCTURE);
  run.lifecycle.error = Error(ExitCode::usage, "kernel-unknown", "no kernel 9.9", "see the list");
  const Judgement judgement = run.judge();
  EXPECT_EQ(judgement.exitCode, ExitCode::usage);
  EXPECT_EQ(judgement.findings.at(0).name, "kernel-unknown");
}

TEST(JudgeGuest, namesThePhaseThatTookTooLong) {
  const std::pair<RunPhase, Outcome> phases[] = {{RunPhase::resolve, Outcome::INFRASTRUCTURE},
                                                 {RunPhase::image, Outcome::INFRASTRUCTURE},
                                                 {RunPhase::prepare, Outcome::INFRASTRUCTURE},
                                                 {RunPhase::boot, Outcome::INFRASTRUCTURE},
                                                 {RunPhase::scheduler, Outcome::FAIL},
                                                 {RunPhase::scenario, Outcome::FAIL},
                                                 {RunPhase::collect, Outcome::FAIL}};
  for (const auto& [phase, outcome] : phases) {
    GoodRun run = brokenOff(1, phase);
    run.lifecycle.timedOutAfterMs = 30000;
    run.lifecycle.exit = rpc::ExitKind::STOPPED;
    const Finding finding = expectOnly(run.judge(), std::string("timeout-") + phaseName(phase), outcome);
    EXPECT_THAT(finding.message, HasSubstr("30 s"));
  }
}

TEST(JudgeGuest, blamesAStarvingHostForATimeout) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.lifecycle.timedOutAfterMs = 10000;
  run.monitor.starved = {{0, 1000, 6000, 10}};
  expectOnly(run.judge(), "timeout-scenario", Outcome::FAIL);
  run.monitor.starved = {{0, 1000, 6001, 10}};
  EXPECT_THAT(expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE).message,
              HasSubstr("phase scenario did not end within 10 s; but the host gave vCPU 0 only 10 ms"));
}

TEST(JudgeGuest, callsAGuestWhoseTimeStandsStillHung) {
  GoodRun run = brokenOff(3, RunPhase::scenario);
  run.lifecycle.timedOutAfterMs = 10000;
  run.monitor.standstillSamples = 9;
  expectOnly(run.judge(), "timeout-scenario", Outcome::FAIL);
  run.monitor.standstillSamples = 10;
  expectOnly(run.judge(), "guest-hang", Outcome::FAIL);
}

TEST(JudgeGuest, keepsAProvenFailureWhateverElseBroke) {
  GoodRun run;
  run.report(0).setWorkUnits(0);
  run.report(0).setIterations(0);
  run.report(0).setCpuNs(0);
  run.lifecycle.monitorDied = "killed by SIGSYS";
  run.monitor = {};
  const Judgement judgement = run.judge();
  EXPECT_EQ(judgement.outcome, Outcome::FAIL);
  ASSERT_EQ(judgement.findings.size(), 2u) << describe(judgement);
  EXPECT_EQ(judgement.findings[0].name, "worker-starved");
  EXPECT_EQ(judgement.findings[1].name, "monitor-died");
}

TEST(JudgeGuest, passesNoControlBytesOn) {
  GoodRun run = brokenOff(1, RunPhase::scheduler);
  run.failure(GuestFailureName::INTERNAL, "\x1b[2Jevil\x07");
  EXPECT_EQ(expectOnly(run.judge(), "guest-internal", Outcome::INFRASTRUCTURE).message, "evil");
}

}  // namespace
}  // namespace ktstr
