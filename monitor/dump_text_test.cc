#include "monitor/dump_text.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace ktstr {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class DumpText : public ::testing::Test {
 protected:
  DumpText() {
    dump_.setName("early");
    dump_.setReason(rpc::DumpReason::FAILURE);
    dump_.setFrozenNs(1'050'000);
    auto scheduler = dump_.initScheduler();
    scheduler.setState("disabling");
    scheduler.setOpsName("qmap");
    scheduler.setBypassDepth(1);
    scheduler.setWatchdogTimeoutMs(5000);
    auto hierarchy = scheduler.initHierarchy(2);
    hierarchy[0].setOpsName("qmap");
    hierarchy[0].setCgroup("/");
    hierarchy[1].setOpsName("below");
    hierarchy[1].setLevel(1);
    hierarchy[1].setCgroup("/a");
    hierarchy[1].setExitKind(68);
    hierarchy[1].setExitKindName("SCX_EXIT_PARENT");
    auto exit = scheduler.initExit();
    exit.setKind(1026);
    exit.setKindName("SCX_EXIT_ERROR_STALL");
    exit.setReason("runnable task stall");
    exit.setMessage("yes[7] failed to run for 5.2s");
    exit.initBacktrace(1).set(0, "scx_watchdog_workfn+0x10");
    exit.setDump("CPU 0\n  R yes[7]\n");
    auto dsqs = dump_.initDsqs(3);
    dsqs[0].setKind(rpc::DsqKind::LOCAL);
    dsqs[0].setCpu(0);
    dsqs[1].setKind(rpc::DsqKind::USER);
    dsqs[1].setId(0x3e8);
    dsqs[1].setNr(3);
    auto tasks = dsqs[1].initTasks(2);
    tasks[0].setPid(7);
    tasks[0].setComm("yes");
    tasks[1].setPid(9);
    tasks[1].setComm("no");
    dsqs[1].setIncomplete("the list leads to 0x10, which is not in memory");
    dsqs[2].setKind(rpc::DsqKind::GLOBAL);
    dsqs[2].setNode(1);
    dsqs[2].setNr(1);
    auto map = dump_.initMaps(1)[0];
    map.setName("q.bss");
    map.setId(4);
    map.initEntries(1)[0].setValue("{\"nr\":5}");
    dump_.initAbsent(1)[0].setSection("registers");
    dump_.getAbsent()[0].setReason("not told");
  }

  // Its destructor may throw, which a fixture's may not.
  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
  rpc::Dump::Builder dump_ = message_->initRoot<rpc::Dump>();
};

TEST_F(DumpText, BeginsWithWhatMatters) {
  EXPECT_THAT(
      dumpAsText(dump_),
      StartsWith("snapshot early (failure), frozen for 1.05 ms\n"
                 "sched_ext  disabling, qmap, bypassed (depth 1), watchdog 5000 ms\n"
                 "exit       SCX_EXIT_ERROR_STALL: runnable task stall (yes[7] failed to run for 5.2s)\n"
                 "  scx_watchdog_workfn+0x10\n"
                 "hierarchy\n"
                 "  scheduler  cgroup  exit\n"
                 "  qmap       /\n"
                 "    below    /a      SCX_EXIT_PARENT\n"
                 "dsqs (1 more are empty)\n"));
}

TEST_F(DumpText, ListsTheQueuesThatHoldTasks) {
  EXPECT_EQ(dsqsAsText(dump_),
            "dsqs (1 more are empty)\n"
            "  DSQ       tasks  seq  in order\n"
            "  0x3e8     3      0    yes[7], no[9]; the list leads to 0x10, which is not in memory\n"
            "  global 1  1      0\n");
}

TEST_F(DumpText, EndsWithMapsTheKernelsDumpAndWhatIsAbsent) {
  const auto words = dumpAsText(dump_);
  EXPECT_THAT(words, HasSubstr("    : {\"nr\":5}\n"));
  EXPECT_THAT(words,
              HasSubstr("the kernel's own dump\n  CPU 0\n    R yes[7]\nabsent\n  registers: not told\n"));
  EXPECT_THAT(dumpAsText(dump_, false), Not(HasSubstr("q.bss")));
}

TEST_F(DumpText, OfARunningGuestSaysWhy) {
  dump_.setFrozenNs(0);
  dump_.setNotFrozen("no machine");
  EXPECT_THAT(dumpAsText(dump_), StartsWith("snapshot early (failure), not frozen: no machine\n"));
}

}  // namespace
}  // namespace ktstr
