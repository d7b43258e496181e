#include "guest/work/group.h"

#include <sched.h>

#include <algorithm>
#include <csignal>

#include "guest/work/custom.h"
#include "guest/work/test_crew.h"
#include "protocol/error.h"

namespace ktstr::work {
namespace {

TEST(WorkGroupTest, CpuSeenIsTheOneItIsPinnedTo) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  uint32_t last = 0;
  for (uint32_t cpu = 0; cpu < maxCpus; cpu++) {
    if (CPU_ISSET(cpu, &allowed)) last = cpu;
  }
  Crew crew(R"({"spinWait":{"spinIters":1024}})", 1);
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
  Crew spinner(R"({"spinWait":{"spinIters":4294967295}})", 1);
  spinner.go();
  EXPECT_LT(spinner.stop(), 1'000'000'000U);
  Crew sleeper(R"({"bursty":{"burstUs":1,"sleepUs":4294967295}})", 1);
  sleeper.go();
  ASSERT_TRUE(sleeper.reach(1));
  EXPECT_LT(sleeper.stop(), 1'000'000'000U);
}

TEST(WorkGroupTest, CountersSurviveACrash) {
  Crew crew(R"({"spinWait":{"spinIters":1024}})", 1);
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
  Crew crew(R"({"spinWait":{"spinIters":1024}})", 1);
  usleep(300'000);
  crew.go();
  ASSERT_TRUE(crew.reach(1));
  crew.stop();
  const uint64_t ran = crew.page(0).endNs.load() - crew.page(0).goNs.load();
  EXPECT_LE(crew.page(0).maxGapNs.load(), ran);
}

// A suspended worker wants to run: that is a gap. A partner that waits for it does not.
TEST(WorkGroupTest, GapIsOnlyTimeInWhichTheWorkerWantedToRun) {
  Crew crew(R"({"futexPingPong":{"spinIters":256}})", 2);
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

// One thread's fault ends the process; whose it was is known.
TEST(WorkGroupTest, CrashOfAThreadIsItsOwn) {
  registerCustom("crash", [](Seat& seat) {
    while (!seat.stopping()) {
      seat.telemetry.iteration(1);
      seat.spin(1024);
      if (seat.index == 1) raise(SIGSEGV);
    }
  });
  Crew crew(R"({"custom":{"name":"crash"}})", 3, true);
  crew.go();
  int status = 0;
  ASSERT_EQ(waitpid(crew.pids()[0], &status, 0), crew.pids()[0]);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
  EXPECT_EQ(crew.page(0).crashSignal.load(), 0U);
  EXPECT_EQ(crew.page(1).crashSignal.load(), static_cast<uint32_t>(SIGSEGV));
  EXPECT_EQ(crew.page(1).iterations.load(), 1U);
  EXPECT_EQ(crew.page(2).crashSignal.load(), 0U);
}

// As where one name of a process covers several WorkSpecs.
TEST(WorkGroupTest, WorkersOfSeveralGroupsShareAProcess) {
  capnp::MallocMessageBuilder pipes, spins;
  fromJson(R"({"pipeIo":{"burstIters":64}})", pipes.initRoot<rpc::WorkType>());
  fromJson(R"({"spinWait":{}})", spins.initRoot<rpc::WorkType>());
  WorkGroup pair(pipes.getRoot<rpc::WorkType>().asReader(), 2),
      spinner(spins.getRoot<rpc::WorkType>().asReader(), 1);
  const Fd start(eventfd(0, EFD_CLOEXEC));
  const pid_t child = fork();
  if (child == 0) {
    runCrew({{&pair, 0}, {&pair, 1}, {&spinner, 0}}, true, start.get());
    _exit(0);
  }
  WorkerPage* pages[] = {&pair.page(0), &pair.page(1), &spinner.page(0)};
  for (WorkerPage* page : pages) page->goNs = monotonicNs();
  ASSERT_EQ(eventfd_write(start.get(), 1), 0);
  for (const uint64_t deadline = monotonicNs() + 20'000'000'000; monotonicNs() < deadline;) {
    if (std::all_of(pages, pages + 3, [](WorkerPage* page) { return page->iterations.load() >= 20; })) break;
    usleep(1000);
  }
  pair.stop(0), pair.stop(1), spinner.stop(0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (WorkerPage* page : pages) {
    EXPECT_EQ(page->finished.load(), 1U);
    EXPECT_GE(page->iterations.load(), 20U);
  }
  EXPECT_NE(pages[0]->tid.load(), pages[2]->tid.load());
}

TEST(WorkGroupTest, CustomFunctionsAreKnownByName) {
  registerCustom("count", [](Seat& seat) {
    while (!seat.stopping()) {
      seat.spin(64);
      seat.telemetry.event();
      seat.telemetry.iteration(64);
    }
  });
  Crew crew(R"({"custom":{"name":"count"}})", 2);
  crew.go();
  ASSERT_TRUE(crew.reach(20));
  crew.stop();
  EXPECT_GE(crew.page(1).events.load(), 20U);
  EXPECT_THROW(registerCustom("count", [](Seat&) {}), Error);
  try {
    Crew unknown(R"({"custom":{"name":"nope"}})", 1);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "custom-unknown");
    EXPECT_NE(error.message().find("\"nope\""), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("count"), std::string::npos) << error.message();
  }
}

TEST(WorkGroupTest, WhatTheKernelRefusesIsAnError) {
  registerCustom("refused", [](Seat& seat) {
    EXPECT_FALSE(seat.setPolicy(SCHED_FIFO, 1000));
    seat.telemetry.iteration(1);
  });
  Crew crew(R"({"custom":{"name":"refused"}})", 1);
  crew.go();
  ASSERT_TRUE(crew.reach(1));
  crew.stop();
  EXPECT_EQ(crew.page(0).errors.load(), 1U);
  EXPECT_EQ(crew.page(0).lastErrno.load(), static_cast<uint32_t>(EINVAL));
  EXPECT_STREQ(crew.page(0).lastErrorCall, "sched_setscheduler");
}

}  // namespace
}  // namespace ktstr::work
