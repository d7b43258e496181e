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
  for (uint32_t steps = 1; steps <= Pace::longest; steps++) {
    ASSERT_EQ(pace.stepsPerLook(), steps);
    pace.looked(steps, 10 * steps);
  }
  EXPECT_EQ(pace.stepsPerLook(), Pace::longest);
  pace.looked(Pace::longest, 1500);
  EXPECT_EQ(pace.stepsPerLook(), Pace::longest);
  pace.looked(Pace::longest, 2000);
  EXPECT_EQ(pace.stepsPerLook(), 1U);
  pace.looked(1, 1000);  // slow steps are looked at one by one
  EXPECT_EQ(pace.stepsPerLook(), 1U);
  pace.looked(1, 999);
  EXPECT_EQ(pace.stepsPerLook(), 2U);
  pace.looked(1, 10);  // another CPU, or told to stop
  EXPECT_EQ(pace.stepsPerLook(), 2U);
}

TEST(TelemetryTest, StepsAreAllThereAndTheirGapsAreNoLongerThanTheTime) {
  WorkerPage page{};
  Telemetry telemetry(page);
  page.goNs = clockNs();
  telemetry.begin();
  const uint64_t begin = telemetry.lastNs();
  uint64_t steps = 0, made = 0;
  for (int i = 0; i < 10'000; i++) steps += telemetry.steps([&] { made++; });
  EXPECT_EQ(steps, made);
  EXPECT_GT(steps, 10'000U);
  const uint64_t passed = telemetry.lastNs() - begin;
  EXPECT_LE(page.maxGapNs.load(), std::max(passed, begin - page.goNs.load()));
  const uint64_t late = telemetry.lastNs() + 30'000'000;
  telemetry.steps([&] {
    while (clockNs() < late) continue;
  });
  EXPECT_GE(page.maxGapNs.load(), 30'000'000U);
  EXPECT_GE(page.maxGapAtNs.load(), late);
}

TEST(TelemetryTest, KnowsItsLongestWakeUpAndWhenItCameToACpu) {
  WorkerPage page{};
  Telemetry telemetry(page);
  page.goNs = clockNs();
  telemetry.begin();
  const auto cpu = static_cast<uint32_t>(page.lastCpu.load());
  const uint64_t seen = page.firstSeenNs[cpu].load();
  EXPECT_GE(seen, page.goNs.load());
  EXPECT_LE(seen, clockNs());
  const auto wake = [&](uint64_t afterNs) {  // as one that has become runnable so long ago
    telemetry.block();
    const uint64_t since = clockNs();
    while (clockNs() < since + afterNs) continue;
    telemetry.resume(since);
    return telemetry.lastNs();
  };
  wake(1'000'000);
  const uint64_t longestAt = wake(400'000'000);
  wake(1'000'000);
  EXPECT_GE(page.maxWakeNs.load(), 400'000'000U);
  EXPECT_EQ(page.maxWakeAtNs.load(), longestAt);
  EXPECT_LT(page.maxWakeCpu.load(), maxCpus);
  EXPECT_EQ(page.firstSeenNs[cpu].load(), seen) << "the first time counts";
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
  ASSERT_TRUE(yielder.reach(yielder.page(0).iterations.load() + 100));
  yielder.stop();
  spinner.stop();
  const WorkerPage& page = yielder.page(0);
  EXPECT_EQ(page.workUnits.load(), page.iterations.load());
  ASSERT_NE(page.runDelayValid.load(), 0U);
  const uint64_t delay = page.runDelayNs.load(), waits = page.timeslices.load();
  EXPECT_GT(waits, 10U);
  EXPECT_GE(page.maxGapNs.load(), delay / waits);  // the longest is no shorter than the mean
  EXPECT_LE(page.maxGapNs.load(), delay / 2);      // and not the sum of them
  EXPECT_EQ(page.migrations.load(), 0U);
}

}  // namespace
}  // namespace ktstr::work
