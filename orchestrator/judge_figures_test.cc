// The thresholds on figures of workers and work groups: each passes at its limit, fails above, is
// inconclusive without data, and says where its limit came from.
#include <cmath>

#include "gmock/gmock.h"
#include "orchestrator/judge_testing.h"

namespace ktstr {
namespace {

using ::testing::HasSubstr;

rpc::Assertions::Builder test(GoodRun& run) {
  return run.scenario().getAssertions();
}

// Group "a" works on a buffer of 1000 pages, as cachePressure, on the first of two nodes of two CPUs; a third
// has memory alone.
class PagesRun : public GoodRun {
 public:
  PagesRun() {
    auto work = scenario().getSteps()[0].getCgroups()[0].getWork()[0];
    work.setName("spinWait");
    work.initType().initCachePressure();
    auto lists = event().initReady().initNodeCpulists(3);
    lists.set(0, "0-1");
    lists.set(1, "2-3");
    for (size_t i = 0; i < 2; ++i) {
      pages(i, 1000, 0, 0);
      report(i).setNumaPagesMigratedValid(true);
    }
  }
  void pages(size_t worker, uint64_t node0, uint64_t node1, uint64_t node2) {
    const uint64_t counts[] = {node0, node1, node2};
    auto list = report(worker).initNumaPages(3);
    for (unsigned node = 0; node < 3; ++node) {
      list[node].setNode(node);
      list[node].setPages(counts[node]);
    }
  }
  rpc::MemPolicy::Builder policy() {
    return scenario().getSteps()[0].getCgroups()[0].getWork()[0].getMemory();
  }
};

TEST(JudgeFigures, comparesWakeLatencyStrictly) {
  GoodRun run;
  test(run).setMaxP99WakeLatencyUs(100);
  expectPass(run.judge());
  test(run).setMaxP99WakeLatencyUs(99.9);
  const Finding finding = expectOnly(run.judge(), "wake-latency", Outcome::FAIL);
  EXPECT_EQ(finding.value, 100);
  EXPECT_EQ(finding.limit, 99.9);
  EXPECT_EQ(finding.cgroup, "b");
  EXPECT_THAT(finding.message, HasSubstr("limit 99.9 us set by the test"));
}

TEST(JudgeFigures, aWakeLatencyIsTheHostsIfThatExplainsIt) {
  GoodRun run;  // of 2 s
  test(run).setMaxP99WakeLatencyUs(20'000);
  for (size_t i = 2; i < 4; ++i) run.report(i).getWakeLatency()[0].setUpperNs(100'000'000);
  run.monitor.starved = {{2, 500, 579, 0}};
  expectOnly(run.judge(), "wake-latency", Outcome::FAIL);
  run.monitor.starved = {{2, 500, 580, 1}};
  EXPECT_EQ(expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE).cpu, 2);
  test(run).setMaxP99WakeLatencyUs(90'000);
  run.monitor.starved = {{2, 500, 515, 0}};  // less than a hundredth of the time
  expectOnly(run.judge(), "wake-latency", Outcome::FAIL);
}

TEST(JudgeFigures, aWakeLatencyNamesTheWorstAndTheLongest) {
  GoodRun run;
  test(run).setMaxP99WakeLatencyUs(99);
  auto buckets = run.report(2).initWakeLatency(2);  // its p99 is low, and its longest the longest
  buckets[0].setUpperNs(50'000);
  buckets[0].setCount(1000);
  buckets[1].setUpperNs(4'200'000);
  buckets[1].setCount(1);
  for (size_t i = 2; i < 4; ++i) {
    run.report(i).setMaxWakeNs(i == 2 ? 4'200'000 : 90'000);
    run.report(i).setMaxWakeAtNs(1'000'000'000 + i * 500'000'000);
    run.report(i).setMaxWakeCpu(static_cast<uint32_t>(i));
  }
  run.report(3).getWakeLatency()[0].setUpperNs(120'000);
  const Finding finding = expectOnly(run.judge(), "wake-latency", Outcome::FAIL);
  EXPECT_EQ(finding.worker, "bursty[1]");
  EXPECT_EQ(finding.cpu, 2);
  EXPECT_THAT(finding.evidence, HasSubstr("the worst is bursty[1]: p99 120 us over its 50 wake-ups\n"));
  EXPECT_THAT(
      finding.evidence,
      HasSubstr("the longest took 4.2 ms: bursty[0], which then ran on CPU 2 1000 ms into the scenario\n"));
  EXPECT_THAT(finding.evidence, HasSubstr("\nbursty[1]: 1000 iterations in 2000 ms"));
}

// The step of the good run, told.
TEST(JudgeFigures, aFigureOfAWholeStepSaysWhenThatWas) {
  GoodRun run;
  for (const uint64_t atNs : {uint64_t{1'012'000'000}, uint64_t{3'015'000'000}}) {
    auto event = run.event();
    event.setAtNs(atNs);
    atNs < 2'000'000'000 ? event.initStepStarted().setStep(0) : event.initStepEnded().setStep(0);
  }
  test(run).setMinIterationsPerSecond(501);
  for (size_t i = 1; i < 4; ++i) run.report(i).setIterations(2000);
  EXPECT_THAT(expectOnly(run.judge(), "iteration-rate", Outcome::FAIL).evidence,
              HasSubstr("\nmain lasted from 12 ms to 2015 ms of the scenario"));
}

TEST(JudgeFigures, comparesTheVariationOfWakeLatencyStrictly) {
  GoodRun run;
  for (size_t i = 2; i < 4; ++i) {  // as many of 100 us as of 300 us: 100 over 200
    auto buckets = run.report(i).initWakeLatency(2);
    for (unsigned bucket = 0; bucket < 2; ++bucket) {
      buckets[bucket].setUpperNs(bucket == 0 ? 100'000 : 300'000);
      buckets[bucket].setCount(25);
    }
  }
  run.scenario().getSchedulerAssertions().setMaxWakeLatencyCv(0.5);
  expectPass(run.judge());
  run.scenario().getSchedulerAssertions().setMaxWakeLatencyCv(0.499);
  const Finding finding = expectOnly(run.judge(), "wake-latency-variation", Outcome::FAIL);
  EXPECT_EQ(finding.value, 0.5);
  EXPECT_EQ(finding.cgroup, "b");
  EXPECT_THAT(finding.message, HasSubstr("limit 0.499 set by the scheduler"));
}

TEST(JudgeFigures, missesWakeLatencyThatWasAskedFor) {
  for (const bool p99 : {true, false}) {
    const auto ask = [&](GoodRun& run) {
      p99 ? test(run).setMaxP99WakeLatencyUs(100) : test(run).setMaxWakeLatencyCv(1);
    };
    const char* name = p99 ? "maxP99WakeLatencyUs" : "maxWakeLatencyCv";
    GoodRun none;
    ask(none);
    for (size_t i = 2; i < 4; ++i) none.report(i).initWakeLatency(0);
    const Finding finding = expectOnly(none.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
    EXPECT_EQ(finding.cgroup, "b");
    EXPECT_THAT(finding.message, HasSubstr(name));
    GoodRun nobody;
    ask(nobody);
    nobody.scenario().getSteps()[0].getCgroups()[1].getWork()[0].setName("bursty");
    nobody.scenario().getSteps()[0].getCgroups()[1].getWork()[0].initType().setYieldHeavy();
    EXPECT_THAT(expectOnly(nobody.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
                HasSubstr(name));
  }
}

TEST(JudgeFigures, missesASpreadThatWasAskedFor) {
  GoodRun run;
  run.scenario().getSteps()[0].getCgroups()[0].getWork()[0].setWorkers(1);
  run.scenario().getSteps()[0].getCgroups()[1].getWork()[0].setWorkers(1);
  test(run).setMaxSpreadPct(10);
  for (const auto& finding : run.judge().findings) {
    if (finding.name == "limit-not-judged") {
      EXPECT_THAT(finding.message, HasSubstr("maxSpreadPct"));
      return;
    }
  }
  ADD_FAILURE() << describe(run.judge());
}

TEST(JudgeFigures, comparesIterationRateStrictly) {
  GoodRun run;
  test(run).setMinIterationsPerSecond(500);
  expectPass(run.judge());
  run.report(0).setIterations(999);
  const Finding finding = expectOnly(run.judge(), "iteration-rate", Outcome::FAIL);
  EXPECT_EQ(finding.value, 499.5);
  EXPECT_EQ(finding.worker, "spinWait[0]");
  EXPECT_THAT(finding.message, HasSubstr("limit 500 /s set by the test"));
  run.monitor.starved = {{0, 500, 503, 0}};  // without which it were 500.25
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  run.monitor.starved.clear();
  run.report(0).setIterations(1000);
  run.report(1).setWallNs(0);
  expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
}

TEST(JudgeFigures, comparesWorkRateStrictly) {
  GoodRun run;
  test(run).setMinWorkRate(1000);  // units in one second of CPU time
  expectPass(run.judge());
  run.report(0).setWorkUnits(990);
  const Finding finding = expectOnly(run.judge(), "work-rate", Outcome::FAIL);
  EXPECT_EQ(finding.value, 990);
  EXPECT_EQ(finding.limit, 1000);
  EXPECT_EQ(finding.worker, "spinWait[0]");
  EXPECT_EQ(finding.evidence, "it changed CPU 10 times, among CPUs 0-1");
  EXPECT_THAT(finding.message, HasSubstr("limit 1000 /CPU s set by the test"));
  run.monitor.starved = {{0, 500, 511, 0}};
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  run.monitor.starved.clear();
  test(run).setMaxSpreadPct(100);
  run.report(0).setCpuNs(0);
  EXPECT_THAT(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
              HasSubstr("spinWait[0] in cgroup \"a\" of main used no CPU time"));
}

TEST(JudgeFigures, comparesTheVariationOfThroughputStrictly) {
  GoodRun run;
  run.report(0).setWorkUnits(500);
  run.report(1).setWorkUnits(1500);  // 500 over 1000
  test(run).setMaxThroughputCv(0.5);
  expectPass(run.judge());
  test(run).setMaxThroughputCv(0.49);
  const Finding finding = expectOnly(run.judge(), "throughput-variation", Outcome::FAIL);
  EXPECT_EQ(finding.value, 0.5);
  EXPECT_EQ(finding.worker, "spinWait[0]");
  EXPECT_EQ(finding.evidence, "they ran on CPUs 0-1");
  EXPECT_THAT(finding.message, HasSubstr("limit 0.49 set by the test"));
  run.monitor.starved = {{0, 100, 601, 0}};  // more than half of its second of CPU time
  expectOnly(run.judge(), "host-starved", Outcome::INCONCLUSIVE);
  run.monitor.starved.clear();
  test(run).setMaxSpreadPct(100);
  run.report(1).setCpuNs(0);
  EXPECT_EQ(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).cgroup, "a");
}

TEST(JudgeFigures, comparesMigrationRatioStrictly) {
  GoodRun run;
  test(run).setMaxMigrationRatio(0.01);
  expectPass(run.judge());
  run.report(0).setMigrations(11);
  const Finding finding = expectOnly(run.judge(), "migration-ratio", Outcome::FAIL);
  EXPECT_NEAR(finding.value, 0.0105, 1e-9);
  EXPECT_THAT(finding.message, HasSubstr("limit 0.01 set by the test"));
  GoodRun idle;
  test(idle).setMaxMigrationRatio(0.01);
  test(idle).setNotStarved(rpc::Choice::NO);
  for (size_t i = 0; i < 2; ++i) idle.report(i).setIterations(0);
  expectOnly(idle.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
}

TEST(JudgeFigures, comparesPageLocalityWithTheNodesOfTheCpusStrictly) {
  PagesRun run;
  expectPass(run.judge());
  test(run).setMinPageLocality(0.75);
  expectPass(run.judge());
  run.pages(0, 750, 250, 0);
  expectPass(run.judge());
  run.pages(0, 749, 251, 0);
  const Finding finding = expectOnly(run.judge(), "page-locality", Outcome::FAIL);
  EXPECT_EQ(finding.value, 0.749);
  EXPECT_EQ(finding.worker, "spinWait[0]");
  EXPECT_THAT(finding.message,
              HasSubstr("74.9 % of its pages on nodes 0, where they belong, limit 0.75 set by"));
  EXPECT_THAT(finding.evidence, HasSubstr("node 0: 749, node 1: 251"));
}

TEST(JudgeFigures, comparesPageLocalityWithTheMemoryPolicyIfThereIsOne) {
  PagesRun run;
  run.pages(1, 0, 0, 0);
  test(run).setMinPageLocality(1);
  run.policy().initBind(1).set(0, 1);
  EXPECT_EQ(expectOnly(run.judge(), "page-locality", Outcome::FAIL).value, 0);
  run.pages(0, 0, 1000, 0);
  expectPass(run.judge());
  run.policy().setPreferred(0);
  EXPECT_EQ(expectOnly(run.judge(), "page-locality", Outcome::FAIL).value, 0);
  run.policy().setLocal();
  expectOnly(run.judge(), "page-locality", Outcome::FAIL);
  run.policy().initInterleave(1).set(0, 1);
  expectPass(run.judge());
  run.policy().setRelativeNodes(true);
  expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE);
}

TEST(JudgeFigures, comparesTheSlowTierStrictly) {
  PagesRun run;
  test(run).setMaxSlowTierRatio(0.25);
  run.pages(1, 750, 0, 250);
  expectPass(run.judge());
  run.pages(1, 700, 40, 260);
  const Finding finding = expectOnly(run.judge(), "slow-tier", Outcome::FAIL);
  EXPECT_EQ(finding.value, 0.26);
  EXPECT_THAT(finding.message,
              HasSubstr("26 % of its pages on nodes 2, which have no CPUs, limit 0.25 set by"));
}

TEST(JudgeFigures, comparesPagesMovedByTheKernelStrictly) {
  PagesRun run;
  test(run).setMaxCrossNodeMigrationRatio(0.5);
  run.report(0).setNumaPagesMigrated(500);
  expectPass(run.judge());
  run.report(0).setNumaPagesMigrated(501);
  EXPECT_EQ(expectOnly(run.judge(), "cross-node-migration", Outcome::FAIL).value, 0.501);
  run.report(0).setNumaPagesMigrated(0);
  run.report(0).setNumaPagesMigratedValid(false);
  EXPECT_THAT(expectOnly(run.judge(), "limit-not-judged", Outcome::INCONCLUSIVE).message,
              HasSubstr("the kernel does not say how many pages it moved"));
}

TEST(JudgeFigures, missesPagesThatWereAskedFor) {
  const auto ask = [](GoodRun& run) {
    test(run).setMinPageLocality(0.5);
    test(run).setMaxCrossNodeMigrationRatio(1);
    test(run).setMaxSlowTierRatio(0.5);
  };
  PagesRun none;
  ask(none);
  for (size_t i = 0; i < 2; ++i) none.report(i).initNumaPages(0);
  GoodRun nobody;
  ask(nobody);
  for (GoodRun* run : {static_cast<GoodRun*>(&none), &nobody}) {
    const Judgement judgement = run->judge();
    EXPECT_EQ(judgement.outcome, Outcome::INCONCLUSIVE);
    ASSERT_EQ(judgement.findings.size(), 3u) << describe(judgement);
    for (const Finding& finding : judgement.findings) EXPECT_EQ(finding.name, "limit-not-judged");
  }
}

}  // namespace
}  // namespace ktstr
