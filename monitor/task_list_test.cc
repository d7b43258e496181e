#include "monitor/task_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/crafted_kernel.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using ::testing::HasSubstr;

constexpr uint64_t init = 0x1000, fairClass = 0x300, extClass = 0x340;
constexpr uint32_t tasks = 16, thread = 32, signal = 48, pid = 56, tgid = 60, state = 64, exitState = 68,
                   comm = 72, parent = 88, schedClass = 96, cpu = 104, prio = 108, threadHead = 8;
constexpr const char* layoutText =
    "member task_struct.tasks 16 16\nmember task_struct.thread_node 32 16\nmember task_struct.signal 48 8\n"
    "member task_struct.pid 56 4\nmember task_struct.tgid 60 4\nmember task_struct.__state 64 4\n"
    "member task_struct.exit_state 68 4\nmember task_struct.comm 72 16\nmember task_struct.real_parent 88 8\n"
    "member task_struct.sched_class 96 8\nmember task_struct.thread_info.cpu 104 4\n"
    "member task_struct.prio 108 4\nmember signal_struct.thread_head 8 16\n";

class TaskListTest : public ::testing::Test {
 protected:
  // init_task; process 5 with threads 5 and 6; process 9.
  TaskListTest() {
    ring({init + tasks, 0x2000 + tasks, 0x4000 + tasks});
    guest_.put<uint64_t>(0x4000 + tasks, kernelMapBase + init + tasks);  // init_task is in the image
    process(0x2000, 0x2800, {0x2000, 0x3000});
    process(0x4000, 0x4800, {0x4000});
    task(0x2000, 5, 5, "server");
    task(0x3000, 6, 5, "worker\x1b");
    task(0x4000, 9, 9, "shell");
    guest_.put<uint32_t>(0x3000 + state, 0x402);
    guest_.put<uint32_t>(0x4000 + exitState, 0x20);
    guest_.put<uint32_t>(0x4000 + state, 0x80);
    guest_.put<uint64_t>(0x3000 + schedClass, kernelMapBase + extClass);
  }
  void ring(const std::vector<uint64_t>& nodes) {
    for (size_t i = 0; i < nodes.size(); ++i) guest_.point(nodes[i], nodes[(i + 1) % nodes.size()]);
  }
  void process(uint64_t leader, uint64_t signals, const std::vector<uint64_t>& threads) {
    std::vector<uint64_t> nodes{signals + threadHead};
    for (const uint64_t one : threads) {
      nodes.push_back(one + thread);
      guest_.point(one + signal, signals);
    }
    ring(nodes);
    guest_.point(leader + parent, init);
  }
  void task(uint64_t at, uint32_t ownPid, uint32_t ownTgid, std::string_view name) {
    guest_.put<uint32_t>(at + pid, ownPid);
    guest_.put<uint32_t>(at + tgid, ownTgid);
    guest_.put<uint32_t>(at + cpu, 3);
    guest_.put<uint32_t>(at + prio, 120);
    guest_.put<uint64_t>(at + schedClass, kernelMapBase + fairClass);
    guest_.putBytes(at + comm, name);
  }
  Walk<TaskInfo> list(size_t limit = 100) const { return listTasks(guest_.kernel(), layout_, limit); }

  CraftedKernel guest_{0x1'0000,
                       {{"init_task", init}, {"fair_sched_class", fairClass}, {"ext_sched_class", extClass}}};
  KernelLayout layout_ = KernelLayout::fromText(layoutText).value();
};

TEST_F(TaskListTest, ThreadsOfAllProcesses) {
  const auto walk = list();
  EXPECT_EQ(walk.problem, "");
  ASSERT_EQ(walk.found.size(), 3u);
  EXPECT_EQ(walk.found[0].comm, "server");
  EXPECT_EQ(walk.found[0].state, "running");
  EXPECT_EQ(walk.found[0].schedClass, "fair");
  EXPECT_EQ(walk.found[0].parent, 0);
  EXPECT_EQ(walk.found[0].cpu, 3u);
  EXPECT_EQ(walk.found[0].priority, 120);
  EXPECT_FALSE(walk.found[0].scxWeight) << "a kernel without sched_ext";
  EXPECT_EQ(walk.found[1].pid, 6);
  EXPECT_EQ(walk.found[1].tgid, 5);
  EXPECT_EQ(walk.found[1].comm, "worker?");
  EXPECT_EQ(walk.found[1].state, "idle");
  EXPECT_EQ(walk.found[1].schedClass, "ext");
  EXPECT_EQ(walk.found[2].state, "zombie");
}

TEST_F(TaskListTest, BrokenListsKeepWhatWasFound) {
  guest_.point(0x4000 + tasks, 0x2000 + tasks);
  EXPECT_EQ(list().found.size(), 3u);
  EXPECT_THAT(list().problem, HasSubstr("comes back"));
  guest_.put<uint64_t>(0x2000 + signal, 0xdead);
  EXPECT_EQ(list().found.size(), 1u);
  guest_.put<uint64_t>(init + tasks, 16);
  EXPECT_THAT(list().problem, HasSubstr("not in memory"));
}

TEST_F(TaskListTest, LimitOfTasks) {
  EXPECT_LE(list(1).found.size(), 1u);
  EXPECT_THAT(list(1).problem, HasSubstr("more than 1"));
  EXPECT_EQ(list(3).found.size(), 3u);
  EXPECT_EQ(list(3).problem, "");
}

}  // namespace
}  // namespace ktstr
