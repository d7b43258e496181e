#include "orchestrator/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ktstr {
namespace {

TEST(Console, anEmptyOneSaysNothing) {
  const ConsoleReport report = classifyConsole("");
  EXPECT_FALSE(report.panic || report.noInit || report.rip || report.initDied);
  EXPECT_TRUE(report.tail.empty());
}

TEST(Console, findsPanicPlaceAndWhatCameBefore) {
  const ConsoleReport report = classifyConsole(
      "[    1.000000] Run /init as init process\r\n"
      "[    3.141592][   T12] BUG: unable to handle page fault for address: ffffffffdeadbeef\r\n"
      "[    3.141600][   T12] Oops: 0002 [#1] SMP NOPTI\r\n"
      "[    3.141700] RIP: 0010:sched_tick+0x1f/0x2a0\r\n"
      "[    3.141800] RIP: 0033:0x7f0000\r\n"
      "[    3.2] Kernel panic - not syncing: Fatal exception in interrupt\r\n"
      "[    3.3] ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---\r\n");
  EXPECT_EQ(report.panic, "Kernel panic - not syncing: Fatal exception in interrupt");
  EXPECT_EQ(report.rip, "sched_tick+0x1f/0x2a0");
  ASSERT_FALSE(report.panicLines.empty());
  EXPECT_EQ(report.panicLines.front(), "BUG: unable to handle page fault for address: ffffffffdeadbeef");
  EXPECT_EQ(report.oopses.size(), 2u);
  EXPECT_FALSE(report.noInit);
}

TEST(Console, keepsThePanicLineAfterALongOops) {
  std::string text = "Oops: 0002 [#1]\n";
  for (int i = 0; i < 100; ++i) text += "frame\n";
  const ConsoleReport report = classifyConsole(text + "Kernel panic - not syncing: Oh\nafter\n");
  EXPECT_EQ(report.panicLines.size(), 24u);
  EXPECT_EQ(report.panicLines.back(), "Kernel panic - not syncing: Oh");
}

TEST(Console, tellsMissingInitFromDyingInit) {
  EXPECT_TRUE(
      classifyConsole("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)")
          .noInit);
  EXPECT_TRUE(classifyConsole("Failed to execute /init (error -8)").noInit);
  EXPECT_TRUE(classifyConsole("check access for rdinit=/init failed: -2, ignoring").noInit);
  const ConsoleReport died =
      classifyConsole("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100");
  EXPECT_TRUE(died.initDied);
  EXPECT_FALSE(died.noInit);
}

TEST(Console, readsHowSchedulersLeft) {
  const ConsoleReport report = classifyConsole(
      "[ 1.0] sched_ext: BPF scheduler \"simple\" enabled\n"
      "[ 2.0] sched_ext: BPF scheduler \"simple\" disabled (unregistered from user space)\n"
      "[ 3.0] sched_ext: BPF scheduler \"qmap\" disabled (runnable task stall)\n"
      "[ 3.0] sched_ext: qmap: kworker/1:1[33] failed to run for 5.120s\n"
      "[ 3.0]    scx_watchdog_workfn+0x1\n");
  ASSERT_EQ(report.schedExtExits.size(), 2u);
  EXPECT_TRUE(report.schedExtExits[0].asked());
  EXPECT_EQ(report.schedExtExits[1].ops, "qmap");
  EXPECT_EQ(report.schedExtExits[1].reason, "runnable task stall");
  EXPECT_EQ(report.schedExtExits[1].message, "kworker/1:1[33] failed to run for 5.120s");
  EXPECT_TRUE(report.schedExtExits[1].stalled());
  EXPECT_EQ(report.schedExtExits[1].stalledForMs(), 5120);
  EXPECT_EQ(report.schedExtExits[0].stalledForMs(), std::nullopt);
  EXPECT_FALSE(report.schedExtExits[1].asked());
}

TEST(Console, tellsLockupsOopsesAndWarningsApart) {
  const ConsoleReport report = classifyConsole(
      "watchdog: BUG: soft lockup - CPU#1 stuck for 22s!\n"
      "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
      "rcu: INFO: rcu_sched self-detected stall on CPU\n"
      "INFO: task init:1 blocked for more than 120 seconds.\n"
      "WARNING: CPU: 0 PID: 1 at kernel/sched/ext.c:1234\n"
      "WARNING: Spectre v2 mitigation\n"
      "kernel BUG at kernel/sched/core.c:77!\n");
  EXPECT_EQ(report.lockups.size(), 4u);
  EXPECT_EQ(report.oopses.size(), 1u);
  EXPECT_EQ(report.warnings.size(), 2u);
}

TEST(Console, keepsWhatRcuSaysOfAStall) {
  const ConsoleReport report = classifyConsole(
      "rcu: Hierarchical RCU implementation.\n"
      "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"
      "rcu: \t(detected by 1, t=5252 jiffies, g=2345, q=11 ncpus=4)\n"
      "rcu: rcu_preempt kthread timer wakeup didn't happen for 5250 jiffies! g2345 f0x0\n"
      "rcu: \tPossible timer handling issue on cpu=2 timer-softirq=321\n"
      "sched_ext: something else\n");
  ASSERT_EQ(report.lockups.size(), 4u);
  EXPECT_EQ(report.lockups[0], "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:");
  EXPECT_EQ(report.lockups[3], "rcu: \tPossible timer handling issue on cpu=2 timer-softirq=321");
}

TEST(Console, isBounded) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "WARNING: CPU: 0 again and again and again\n";
  text += "Kernel panic - not syncing: at the end\n";
  const ConsoleReport report = classifyConsole(text);
  EXPECT_EQ(report.warnings.size(), 16u);
  EXPECT_EQ(report.tail.size(), 12u);
  EXPECT_TRUE(report.panic);
  EXPECT_EQ(classifyConsole(std::string(10'000, 'x')).tail.front().size(), 512u);
}

TEST(Console, stripsWhatATerminalWouldObey) {
  EXPECT_EQ(cleanText("\x1b[1;31mred\x1b[0m \x1b]0;title\x07t\x1b(B\r\n\x08\x7f"), "red tB\n");
  EXPECT_EQ(cleanText("tab\tok\xc3\xa4\xff\xc2\x9b!"),
            "tab\tok\xc3\xa4?"
            "?"
            "?!");
  EXPECT_EQ(cleanText("\xed\xa0\x80\xc0\x80\xf5"), std::string(6, '?'));
  EXPECT_EQ(cleanText("cut\x1b"), "cut");
  EXPECT_EQ(cleanText("cut\x1b[12"), "cut");
  EXPECT_EQ(cleanText("a\x1b[1\nb"), "a\nb");
}

}  // namespace
}  // namespace ktstr
