#include "guest/work/telemetry.h"

#include <sched.h>

#include "guest/work/clock.h"
#include "guest/work/test_crew.h"

namespace ktstr::work {
namespace {

void pinTo(uint32_t cpu, const Crew& crew) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  for (const pid_t pid : crew.pids()) ASSERT_EQ(sched_setaffinity(pid, sizeof one, &one), 0);
}

TEST(PaceTest, LooksRarelyInAQuietTimeAndAfterEveryStepOnceSomethingCameBetween) {
  Pace pace(1000);
  // Steps of 10 ns: up to the longest, one more each time.
  for (uint32_t wanted = 1; wanted <= Pace::longest; wanted++) {
    for (uint32_t step = 1; step < wanted; step++) ASSERT_FALSE(pace.step());
    ASSERT_TRUE(pace.step());
    ASSERT_EQ(pace.looked(10 * wanted), wanted);
  }
  for (uint32_t step = 1; step < Pace::longest; step++) ASSERT_FALSE(pace.step());
  EXPECT_TRUE(pace.step());
  EXPECT_EQ(pace.looked(2000), Pace::longest);
  for (int i = 0; i < 10; i++) {
    EXPECT_TRUE(pace.step());
    EXPECT_EQ(pace.looked(1000), 1U);  // slow steps are looked at one by one
  }
  EXPECT_TRUE(pace.step());
  EXPECT_EQ(pace.looked(999), 1U);
  EXPECT_FALSE(pace.step());
  EXPECT_EQ(pace.looked(5), 1U);  // a look out of turn
  EXPECT_EQ(pace.looked(5), 0U);
}

TEST(TelemetryTest, StepsAreAllThereAndTheirGapsAreNoLongerThanTheTime) {
  WorkerPage page{};
  Telemetry telemetry(page);
  page.goNs = clockNs();
  telemetry.begin();
  const uint64_t begin = telemetry.lastNs();
  uint64_t steps = 0;
  for (int i = 0; i < 100'000; i++) steps += telemetry.step();
  steps += telemetry.look();
  EXPECT_EQ(steps, 100'000U);
  const uint64_t passed = telemetry.lastNs() - begin;
  EXPECT_LE(page.maxGapNs.load(), std::max(passed, begin - page.goNs.load()));
  const uint64_t late = telemetry.lastNs() + 30'000'000;
  while (clockNs() < late) continue;
  while (telemetry.step() == 0) continue;
  EXPECT_GE(page.maxGapNs.load(), 30'000'000U);
  EXPECT_GE(page.maxGapAtNs.load(), late);
}

// Alone at first, then beside one that spins: what it waits for is what the kernel says, wait by wait.
TEST(TelemetryTest, AYieldersGapsAreTheKernelsWaits) {
  const auto cpu = static_cast<uint32_t>(sched_getcpu());
  Crew yielder(R"({"yieldHeavy":null})", 1), spinner(R"({"spinWait":{}})", 1);
  pinTo(cpu, yielder);
  pinTo(cpu, spinner);
  yielder.go();
  ASSERT_TRUE(yielder.reach(20'000));
  spinner.go();
  ASSERT_TRUE(yielder.reach(yielder.page(0).iterations.load() + 200));
  yielder.stop();
  spinner.stop();
  const WorkerPage& page = yielder.page(0);
  EXPECT_EQ(page.workUnits.load(), page.iterations.load());
  ASSERT_NE(page.runDelayValid.load(), 0U);
  const uint64_t delay = page.runDelayNs.load(), waits = page.timeslices.load();
  EXPECT_GT(waits, 20U);
  EXPECT_GE(page.maxGapNs.load(), delay / waits);  // the longest is no shorter than the mean
  EXPECT_LE(page.maxGapNs.load(), delay / 2);      // and not the sum of them
  EXPECT_EQ(page.migrations.load(), 0U);
}

}  // namespace
}  // namespace ktstr::work
