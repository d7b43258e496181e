#include "guest/work/group.h"

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "protocol/fd.h"

namespace ktstr::work {
namespace {

using Setup = std::function<void(rpc::WorkType::Builder)>;

// Real workers of one group in real processes.
class Crew {
 public:
  Crew(const Setup& setup, uint32_t workers) {
    auto type = message_.initRoot<rpc::WorkType>();
    setup(type);
    group_ = std::make_unique<WorkGroup>(type.asReader(), workers);
    start_ = Fd(eventfd(0, EFD_CLOEXEC));
    for (uint32_t index = 0; index < workers; index++) {
      const pid_t child = fork();
      if (child == 0) {
        group_->run(index, start_.get());
        _exit(0);
      }
      pids_.push_back(child);
    }
  }
  ~Crew() {
    for (const pid_t pid : pids_) kill(pid, SIGKILL);
    while (wait(nullptr) > 0) continue;
  }

  void go() {
    for (uint32_t index = 0; index < group_->workers(); index++) page(index).goNs = monotonicNs();
    EXPECT_EQ(eventfd_write(start_.get(), 1), 0);
  }
  // Lets them work until each has finished `iterations`; false: one did not in 20 s.
  bool reach(uint64_t iterations) {
    const uint64_t deadline = monotonicNs() + 20'000'000'000;
    for (uint32_t index = 0; index < group_->workers();) {
      if (page(index).iterations.load() >= iterations)
        index++;
      else if (monotonicNs() > deadline)
        return false;
      else
        usleep(1000);
    }
    return true;
  }
  // Tells all to stop and returns how long the slowest took.
  uint64_t stop() {
    const uint64_t begin = monotonicNs();
    for (uint32_t index = 0; index < group_->workers(); index++) group_->stop(index);
    for (const pid_t pid : pids_) {
      int status = -1;
      EXPECT_EQ(waitpid(pid, &status, 0), pid);
      EXPECT_EQ(status, 0);
    }
    pids_.clear();
    return monotonicNs() - begin;
  }
  WorkerPage& page(uint32_t index) { return group_->page(index); }
  const std::vector<pid_t>& pids() const { return pids_; }

 private:
  capnp::MallocMessageBuilder message_;
  std::unique_ptr<WorkGroup> group_;
  Fd start_;
  std::vector<pid_t> pids_;
};

uint64_t histogramSum(const WorkerPage& page) {
  uint64_t sum = 0;
  for (size_t bucket = 0; bucket < Histogram::buckets; bucket++) sum += page.wakeLatency.count(bucket);
  return sum;
}

bool sawAnyCpu(const WorkerPage& page) {
  for (const auto& word : page.cpusSeen) {
    if (word.load() != 0) return true;
  }
  return false;
}

struct Case {
  const char* name;
  Setup setup;
  uint32_t workers;
  uint64_t unitsPerIteration;  // 0: not fixed
  bool wakes;
};

class WorkTest : public ::testing::TestWithParam<Case> {};

TEST_P(WorkTest, WorksMeasuresAndStops) {
  Crew crew(GetParam().setup, GetParam().workers);
  crew.go();
  ASSERT_TRUE(crew.reach(20));
  EXPECT_LT(crew.stop(), 1'000'000'000U);
  uint64_t wakes = 0;
  for (uint32_t index = 0; index < GetParam().workers; index++) {
    const WorkerPage& page = crew.page(index);
    EXPECT_EQ(page.finished.load(), 1U);
    EXPECT_EQ(page.blocked.load(), 0U);
    if (GetParam().unitsPerIteration > 0) {
      EXPECT_EQ(page.workUnits.load(), page.iterations.load() * GetParam().unitsPerIteration);
    }
    EXPECT_GT(page.workUnits.load(), 0U);
    EXPECT_GT(page.cpuNs.load(), 0U);
    EXPECT_GT(page.endNs.load(), page.goNs.load());
    EXPECT_LE(page.cpuNs.load(), page.endNs.load() - page.goNs.load() + 100'000'000);
    EXPECT_GT(page.maxGapNs.load(), 0U);
    EXPECT_LE(page.maxGapNs.load(), page.endNs.load() - page.goNs.load());
    EXPECT_TRUE(sawAnyCpu(page));
    EXPECT_EQ(histogramSum(page), page.wakeSamples.load());
    wakes += page.wakeSamples.load();
  }
  EXPECT_EQ(wakes > 0, GetParam().wakes);
}

INSTANTIATE_TEST_SUITE_P(
    AllTypes, WorkTest,
    ::testing::Values(
        Case{"spinWait", [](auto type) { type.initSpinWait().setSpinIters(2048); }, 2, 2048, false},
        Case{"yieldHeavy", [](auto type) { type.setYieldHeavy(); }, 2, 1, false},
        Case{"bursty",
             [](auto type) {
               auto bursty = type.initBursty();
               bursty.setBurstUs(500);
               bursty.setSleepUs(1000);
             },
             2, 0, true},
        Case{"futexPingPong", [](auto type) { type.initFutexPingPong().setSpinIters(256); }, 4, 256, true},
        Case{"pipeIo", [](auto type) { type.initPipeIo().setBurstIters(256); }, 4, 256, true}),
    [](const auto& each) { return each.param.name; });

TEST(WorkGroupTest, CpuSeenIsTheOneItIsPinnedTo) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  uint32_t last = 0;
  for (uint32_t cpu = 0; cpu < maxCpus; cpu++) {
    if (CPU_ISSET(cpu, &allowed)) last = cpu;
  }
  Crew crew([](auto type) { type.initSpinWait().setSpinIters(1024); }, 1);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  ASSERT_EQ(sched_setaffinity(crew.pids()[0], sizeof one, &one), 0);
  crew.go();
  ASSERT_TRUE(crew.reach(50));
  crew.stop();
  for (uint32_t word = 0; word < maxCpus / 64; word++) {
    EXPECT_EQ(crew.page(0).cpusSeen[word].load(), word == last / 64 ? uint64_t{1} << last % 64 : 0);
  }
  EXPECT_EQ(crew.page(0).migrations.load(), 0U);
  EXPECT_EQ(crew.page(0).lastCpu.load(), last);
}

TEST(WorkGroupTest, LongSpinAndLongSleepEndWhenTold) {
  Crew spinner([](auto type) { type.initSpinWait().setSpinIters(UINT32_MAX); }, 1);
  spinner.go();
  EXPECT_LT(spinner.stop(), 1'000'000'000U);
  Crew sleeper([](auto type) { type.initBursty().setBurstUs(1), type.getBursty().setSleepUs(UINT32_MAX); },
               1);
  sleeper.go();
  ASSERT_TRUE(sleeper.reach(1));
  EXPECT_LT(sleeper.stop(), 1'000'000'000U);
}

TEST(WorkGroupTest, CountersSurviveACrash) {
  Crew crew([](auto type) { type.initSpinWait().setSpinIters(1024); }, 1);
  crew.go();
  ASSERT_TRUE(crew.reach(5));
  ASSERT_EQ(kill(crew.pids()[0], SIGABRT), 0);
  int status = 0;
  ASSERT_EQ(waitpid(crew.pids()[0], &status, 0), crew.pids()[0]);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_GE(crew.page(0).iterations.load(), 5U);
  EXPECT_EQ(crew.page(0).finished.load(), 0U);
}

TEST(WorkGroupTest, TimeBeforeTheStartIsNoGapAndTheStartDelayIs) {
  Crew crew([](auto type) { type.initSpinWait().setSpinIters(1024); }, 1);
  usleep(300'000);
  crew.go();
  ASSERT_TRUE(crew.reach(1));
  crew.stop();
  const uint64_t ran = crew.page(0).endNs.load() - crew.page(0).goNs.load();
  EXPECT_LE(crew.page(0).maxGapNs.load(), ran);
}

// A suspended worker wants to run: that is a gap. A partner that waits for it does not.
TEST(WorkGroupTest, GapIsOnlyTimeInWhichTheWorkerWantedToRun) {
  Crew crew([](auto type) { type.initFutexPingPong().setSpinIters(256); }, 2);
  crew.go();
  ASSERT_TRUE(crew.reach(5));
  ASSERT_EQ(kill(crew.pids()[0], SIGSTOP), 0);
  usleep(400'000);
  ASSERT_EQ(kill(crew.pids()[0], SIGCONT), 0);
  ASSERT_TRUE(crew.reach(crew.page(0).iterations.load() + 5));
  crew.stop();
  EXPECT_GE(crew.page(0).maxGapNs.load(), 300'000'000U);
  EXPECT_LT(crew.page(1).maxGapNs.load(), crew.page(0).maxGapNs.load());
}

}  // namespace
}  // namespace ktstr::work
