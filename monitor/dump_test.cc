// Dumps of kernels made by hand, as they should be and as a hostile guest would have them.
#include "monitor/dump.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "monitor/crafted_scx.h"
#include "monitor/error_watch.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using test::CraftedScx;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Dumps : public ::testing::Test, protected CraftedScx {
 protected:
  rpc::Dump::Reader dump() {
    message_ = std::make_unique<capnp::MallocMessageBuilder>();
    auto out = message_->initRoot<rpc::Dump>();
    Absences absent;
    KernelDump dump(attachment(), out, absent);
    dump.render();
    absent.fill(out);
    return out.asReader();
  }
  static std::vector<int32_t> pids(rpc::DsqState::Reader dsq) {
    std::vector<int32_t> pids;
    for (const auto task : dsq.getTasks()) pids.push_back(task.getPid());
    return pids;
  }
  static std::string absent(rpc::Dump::Reader dump) {
    std::string out;
    for (const auto one : dump.getAbsent())
      out += text(one.getSection().cStr(), ": ", one.getReason().cStr(), "\n");
    return out;
  }
  // All of a dump that says what is not there.
  static std::string gaps(rpc::Dump::Reader dump) {
    std::string out = absent(dump);
    const auto add = [&](auto list) {
      for (const auto one : list) out += one.getIncomplete().cStr() + std::string("\n");
    };
    add(dump.getDsqs()), add(dump.getCpus()), add(dump.getTasks()), add(dump.getCgroups());
    add(dump.getScheduler().getHierarchy());
    return out;
  }
  // A scheduler that has ended; a task that is all tasks, waits on its DSQ and its CPU, and has a cgroup.
  void makeOfEverything() {
    constexpr uint64_t signal = 0x7100, group = 0x7200, cgroup = 0x7310, node = 0x7320;
    const uint64_t user = dsq(0, 1000), own = taskGpa(0);
    attach("qmap");
    exitWith(1026, "stall", "it waits", {symbolVa("__per_cpu_offset")});
    task(0, 11, "first");
    run(0, 0), run(1, 0);
    hash({user});
    queue(user, {taskNode(0)}, 1);
    guest_.point(0x180 + 64, own + 64);
    guest_.put<uint64_t>(own + 64, symbolVa("init_task") + 64);
    guest_.point(own + 96, signal), guest_.point(signal, own + 80), guest_.point(own + 80, signal);
    guest_.point(rq(0) + 96, own + 112), guest_.point(own + 112, rq(0) + 96);
    guest_.point(own + 136, user);
    guest_.point(own + 144, group + 0x40), guest_.point(group + 0x40, cgroup);
    guest_.point(own + 152, 0x7350);
    guest_.point(0x158, group), guest_.put<uint64_t>(group, symbolVa("task_groups"));
    guest_.point(group + 16, cgroup), guest_.point(cgroup, node), guest_.point(node, 0x7340);
    guest_.put<uint64_t>(node + 8, 0);
  }
  static rpc::DsqState::Reader find(rpc::Dump::Reader dump, rpc::DsqKind kind, uint64_t id = 0) {
    for (const auto dsq : dump.getDsqs()) {
      if (dsq.getKind() == kind && (kind != rpc::DsqKind::USER || dsq.getId() == id)) return dsq;
    }
    ADD_FAILURE() << "no such DSQ";
    return {};
  }

  std::unique_ptr<capnp::MallocMessageBuilder> message_;
};

TEST_F(Dumps, ShowTheSchedulerAndItsExit) {
  attach("qmap");
  exitWith(1026, "runnable task stall", "yes[7] failed to run for 5.2s", {symbolVa("__per_cpu_offset") + 4});
  const auto scheduler = dump().getScheduler();
  EXPECT_EQ(scheduler.getState(), "enabled");
  EXPECT_EQ(scheduler.getOpsName(), "qmap");
  EXPECT_EQ(scheduler.getBypassDepth(), 1);
  EXPECT_EQ(scheduler.getWatchdogTimeoutMs(), 5000);
  const auto exit = scheduler.getExit();
  EXPECT_EQ(exit.getKind(), 1026);
  EXPECT_EQ(exit.getKindName(), "SCX_EXIT_ERROR_STALL");
  EXPECT_EQ(exit.getExitCpu(), 1);
  EXPECT_EQ(exit.getReason(), "runnable task stall");
  EXPECT_EQ(exit.getMessage(), "yes[7] failed to run for 5.2s");
  ASSERT_EQ(exit.getBacktrace().size(), 1u);
  EXPECT_EQ(exit.getBacktrace()[0], "__per_cpu_offset+0x4");
}

TEST_F(Dumps, ListTheSchedulersOfTheHierarchy) {
  constexpr uint64_t below = CraftedScx::schedulerGpa + 0x400;
  attach("qmap");
  EXPECT_EQ(dump().getScheduler().getHierarchy().size(), 1u);
  guest_.putBytes(below, "below");
  guest_.put<int32_t>(below + 0x70, 1026);  // exit_kind
  inHierarchy({CraftedScx::schedulerGpa, below});
  auto all = dump().getScheduler().getHierarchy();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].getOpsName(), "qmap");
  EXPECT_EQ(all[0].getParent(), 0u);
  EXPECT_EQ(all[0].getCgroup(), "/");
  EXPECT_EQ(all[0].getExitKind(), 0);
  EXPECT_EQ(all[1].getOpsName(), "below");
  EXPECT_EQ(all[1].getAddress(), CraftedKernel::va(below));
  EXPECT_EQ(all[1].getParent(), all[0].getAddress());
  EXPECT_EQ(all[1].getLevel(), 1);
  EXPECT_EQ(all[1].getCgroup(), "/slice");
  EXPECT_EQ(all[1].getExitKindName(), "SCX_EXIT_ERROR_STALL");
  guest_.put<int32_t>(below + CraftedScx::schedLevel, 0x7fff'ffff);
  EXPECT_EQ(dump().getScheduler().getHierarchy()[1].getParent(), 0u);
  guest_.point(below + CraftedScx::allNode, below + CraftedScx::allNode);
  EXPECT_THAT(absent(dump()), HasSubstr("scheduler.hierarchy: the list comes back"));
  EXPECT_EQ(dump().getScheduler().getHierarchy().size(), 2u);
}

TEST_F(Dumps, ListEachQueueInItsOrderWithoutCursors) {
  attach("qmap");
  const uint64_t user = dsq(0, 1000), other = dsq(1, 7);
  task(0, 11, "first"), task(1, 12, "second"), task(2, 13, "local");
  hash({user, other});
  queue(user, {taskNode(0), cursor(), taskNode(1)}, 2);
  queue(localDsq(1), {taskNode(2)}, 1);
  const auto shown = dump();
  EXPECT_THAT(absent(shown), ::testing::Not(HasSubstr("dsqs user")));
  EXPECT_THAT(absent(shown), HasSubstr("dsqs bypass: scx_sched_pcpu.bypass_dsq"));
  ASSERT_EQ(shown.getDsqs().size(), 5u);  // two local, one global, two of the scheduler
  EXPECT_THAT(pids(find(shown, rpc::DsqKind::USER, 1000)), ElementsAre(11, 12));
  EXPECT_EQ(find(shown, rpc::DsqKind::USER, 1000).getTasks()[1].getComm(), "second");
  EXPECT_EQ(find(shown, rpc::DsqKind::USER, 1000).getNr(), 2u);
  EXPECT_THAT(pids(find(shown, rpc::DsqKind::USER, 7)), ElementsAre());
  EXPECT_THAT(pids(shown.getDsqs()[1]), ElementsAre(13));
  EXPECT_EQ(shown.getDsqs()[1].getCpu(), 1);
  EXPECT_EQ(shown.getDsqs()[2].getNode(), 0);
  EXPECT_EQ(shown.getDsqs()[3].getId(), 7u);  // by id
}

TEST_F(Dumps, NameTheGapOfAListThatLeadsAstray) {
  attach("qmap");
  const uint64_t user = dsq(0, 1000);
  hash({user});
  task(0, 11, "first"), task(1, 12, "second");
  queue(user, {taskNode(0), taskNode(1)}, 0xffff'ffff);
  guest_.put<uint64_t>(taskNode(1), CraftedKernel::va(taskNode(0)));  // never back to its head
  auto dsq = find(dump(), rpc::DsqKind::USER, 1000);
  EXPECT_THAT(pids(dsq), ElementsAre(11, 12));
  EXPECT_THAT(dsq.getIncomplete().cStr(), HasSubstr("comes back to"));
  EXPECT_EQ(dsq.getNr(), 0xffff'ffffu);  // as the kernel counts
  guest_.put<uint64_t>(taskNode(1), 0x10);
  dsq = find(dump(), rpc::DsqKind::USER, 1000);
  EXPECT_THAT(dsq.getIncomplete().cStr(), HasSubstr("0x10, which is not in memory"));
  guest_.put<uint64_t>(user + CraftedScx::dsqList, CraftedKernel::va(guest_.ram().size() * 2));
  dsq = find(dump(), rpc::DsqKind::USER, 1000);
  EXPECT_THAT(dsq.getIncomplete().cStr(), HasSubstr("not in memory"));
}

TEST_F(Dumps, NameTheGapOfATableThatLeadsAstray) {
  attach("qmap");
  const uint64_t user = dsq(0, 1000), other = dsq(1, 7);
  hash({user, other});
  guest_.put<uint64_t>(other + CraftedScx::dsqHashNode, CraftedKernel::va(user + CraftedScx::dsqHashNode));
  guest_.put<uint64_t>(user + CraftedScx::dsqHashNode, CraftedKernel::va(user + CraftedScx::dsqHashNode));
  EXPECT_THAT(absent(dump()), HasSubstr("dsqs user: a chain comes back to"));
  guest_.put<uint32_t>(CraftedScx::buckets, 0x8000'0000);
  EXPECT_THAT(absent(dump()), HasSubstr("dsqs user: its table has 2147483648 buckets"));
  guest_.put<uint32_t>(CraftedScx::buckets + 4, 9);
  EXPECT_THAT(absent(dump()), HasSubstr("dsqs user: its table is nested"));
  guest_.put<uint64_t>(CraftedScx::schedulerGpa + CraftedScx::schedHash, 0x1000);
  EXPECT_THAT(absent(dump()), HasSubstr("dsqs user: its table at 0x1000 is not in memory"));
}

TEST_F(Dumps, WithoutASchedulerShowWhatTheKernelHas) {
  task(0, 11, "first");
  run(0, 0);
  const auto shown = dump();
  EXPECT_EQ(shown.getScheduler().getOpsName(), "");
  EXPECT_EQ(shown.getDsqs().size(), 2u);
  EXPECT_EQ(shown.getCpus()[0].getCurrComm(), "first");
  EXPECT_THAT(absent(shown), HasSubstr("scheduler: scx_root is null: no sched_ext scheduler is attached"));
  EXPECT_THAT(absent(shown), HasSubstr("dsqs: no scheduler is attached"));
}

TEST_F(Dumps, ShowCpusAndTheirFlags) {
  attach("qmap");
  task(0, 11, "first");
  run(0, 0);
  guest_.put<uint32_t>(rq(0) + CraftedScx::rqScxFlags, 1 | 8 | 32);
  const auto cpu = dump().getCpus()[0];
  std::vector<std::string> names;
  for (const auto name : cpu.getFlagNames()) names.emplace_back(name);
  EXPECT_THAT(names, ElementsAre("ONLINE", "CLK_VALID"));  // 8 is no flag of this kernel
  EXPECT_EQ(cpu.getCurrPid(), 11);
}

TEST_F(Dumps, NameEachMemberThatTheKernelLacks) {
  makeOfEverything();
  const std::string all = gaps(dump());
  std::istringstream lines(layout);
  size_t members = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string name = line.substr(0, line.find(' ', 7)).substr(7);
    if (!line.starts_with("member ")) continue;
    ++members;
    EXPECT_THAT(all, ::testing::Not(HasSubstr(name + ": "))) << all;
    std::string rest = layout;
    rest.erase(rest.find(line), line.size() + 1);
    const auto without = KernelLayout::fromText(rest).value();
    useLayout(without);
    EXPECT_THAT(gaps(dump()), HasSubstr(name + ": "));
  }
  EXPECT_GT(members, 70u);
}

TEST_F(Dumps, NameWhatIsNotInMemory) {
  makeOfEverything();
  EXPECT_EQ(dump().getTasks()[0].getCgroup(), "/");
  EXPECT_EQ(dump().getCpus()[0].getRunnable().size(), 1u);
  guest_.point(taskGpa(0) + 112, 64);  // the task of that node would begin before RAM
  guest_.point(64, rq(0) + 96);
  auto shown = dump();
  EXPECT_EQ(shown.getCpus()[0].getRunnable().size(), 1u) << "no task 0";
  EXPECT_THAT(shown.getCpus()[0].getIncomplete().cStr(), HasSubstr("task_struct.pid at 0xffff"));
  guest_.put<uint64_t>(taskGpa(0) + 152, 0x10);
  guest_.put<uint64_t>(taskGpa(0) + 144, 0x10);
  shown = dump();
  EXPECT_THAT(shown.getTasks()[0].getIncomplete().cStr(), HasSubstr("its sched_class at 0x"));
  guest_.put<uint64_t>(rq(0) + 128, ~uint64_t{0} << 56);
  EXPECT_THAT(dump().getCpus()[0].getIncomplete().cStr(), HasSubstr("task_struct.pid at"));
  guest_.point(taskGpa(0) + 112, rq(0) + 96);
  EXPECT_THAT(dump().getCpus()[0].getIncomplete().cStr(),
              HasSubstr("the CPUs that it kicks are not in memory"));
  guest_.put<uint64_t>(0x7200 + 16, 0x10);
  EXPECT_THAT(dump().getCgroups()[0].getIncomplete().cStr(), HasSubstr("the path of the cgroup at 0x10"));
}

TEST_F(Dumps, KeepNoMoreAbsencesThanTheirLimit) {
  Absences absent;
  for (unsigned i = 0; i < 1000; ++i) absent.add("section", text("reason ", i));
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::Dump>();
  absent.fill(out);
  ASSERT_EQ(out.getAbsent().size(), dump_limits::absences);
  EXPECT_EQ(out.getAbsent()[dump_limits::absences - 1].getReason(), "there is more that is not there");
}

TEST_F(Dumps, OfRandomBytesEnd) {
  attach("qmap");
  uint32_t random = 1;
  for (unsigned round = 0; round < 20; ++round) {
    std::vector<uint8_t> input(4099);
    for (auto& byte : input) byte = static_cast<uint8_t>((random = random * 1664525 + 1013904223) >> 24);
    guest_.fill(input);
    prepare();
    guest_.point(rootGpa(), CraftedScx::schedulerGpa);
    const auto shown = dump();
    EXPECT_LE(shown.getAbsent().size(), dump_limits::absences);
    EXPECT_LE(shown.getDsqs().size(), dump_limits::dsqs + 10);
  }
}

TEST_F(Dumps, ErrorIsSeenOncePerScheduler) {
  ErrorWatch watch(guest_.kernel(), layout_);
  EXPECT_FALSE(watch.look());
  attach("qmap");
  EXPECT_FALSE(watch.look());
  exitWith(64, "unregistered from user space", "", {});
  EXPECT_FALSE(watch.look());
  exitWith(1024, "runtime error", "", {});
  EXPECT_TRUE(watch.look());
  EXPECT_FALSE(watch.look());
  exitWith(0, "", "", {});  // the next one, in the same place
  EXPECT_FALSE(watch.look());
  exitWith(1026, "stall", "", {});
  EXPECT_TRUE(watch.look());
}

}  // namespace
}  // namespace ktstr
