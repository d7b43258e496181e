#include "orchestrator/stats.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

namespace ktstr {
namespace {

class Stats : public ::testing::Test {
 protected:
  rpc::WorkerReport::Builder report(const char* cgroup, const char* work, uint64_t cpuNs, uint64_t wallNs) {
    messages_.push_back(std::make_unique<capnp::MallocMessageBuilder>());
    auto report = messages_.back()->initRoot<rpc::WorkerReport>();
    report.setCgroup(cgroup);
    report.setWork(work);
    report.setCpuNs(cpuNs);
    report.setWallNs(wallNs);
    return report;
  }

  std::vector<GroupFigures> groups() {
    std::vector<rpc::WorkerReport::Reader> reports;
    for (const auto& message : messages_) reports.push_back(message->getRoot<rpc::WorkerReport>().asReader());
    return groupReports(scenario_->getRoot<rpc::Scenario>().asReader(), reports);
  }

  std::unique_ptr<capnp::MallocMessageBuilder> scenario_ = std::make_unique<capnp::MallocMessageBuilder>();
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages_;
};

void setBuckets(rpc::WorkerReport::Builder report,
                const std::vector<std::pair<uint64_t, uint64_t>>& buckets) {
  auto list = report.initWakeLatency(static_cast<unsigned>(buckets.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setUpperNs(buckets[i].first);
    list[i].setCount(buckets[i].second);
  }
}

TEST_F(Stats, spreadIsTheDifferenceOfSharesInPoints) {
  report("a", "w", 900, 1000);
  report("a", "w", 300, 500);
  report("a", "w", 400, 500);
  EXPECT_NEAR(groups().at(0).spreadPct.value(), 30, 1e-9);
}

TEST_F(Stats, spreadNeedsTwoWorkersWithWallTime) {
  report("a", "w", 900, 1000);
  EXPECT_FALSE(groups().at(0).spreadPct);
  report("a", "w", 0, 0);
  EXPECT_FALSE(groups().at(0).spreadPct);
  EXPECT_TRUE(groups().at(0).iterationsPerSecond);
}

TEST_F(Stats, cpuTimeThatIsNotKnownIsNoShareAndNoRateOfWork) {
  report("a", "w", 900, 1000);
  auto lost = report("a", "w", 0, 1000);
  lost.setUsageValid(false);
  lost.setWorkUnits(7);
  lost.setIterations(1000);
  const GroupFigures group = groups().at(0);
  EXPECT_FALSE(group.spreadPct);
  EXPECT_FALSE(cpuSharePct(group.reports[1]));
  EXPECT_FALSE(workRate(group.reports[1]));
  EXPECT_DOUBLE_EQ(group.iterationsPerSecond.value(), 1e9);  // wall time is known
}

TEST_F(Stats, groupsAreDeclaredOnesInOrderThenOthers) {
  auto step = scenario_->initRoot<rpc::Scenario>().initSteps(1)[0];
  auto cgroup = step.initCgroups(1)[0];
  cgroup.setName("a");
  auto work = cgroup.initWork(2);
  work[0].setName("mine");
  work[0].setWorkers(3);
  work[1].initType().initBursty();
  report("a", "stray", 1, 1);
  report("a", "bursty", 1, 1);
  const auto found = groups();
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].work, "mine");
  EXPECT_EQ(found[0].declared, 3u);
  EXPECT_TRUE(found[0].isCpuBound);
  EXPECT_TRUE(found[0].reports.empty());
  EXPECT_EQ(found[0].stepName, "step 0");
  EXPECT_EQ(found[1].work, "bursty");
  EXPECT_TRUE(found[1].hasWakeLatency);
  EXPECT_EQ(found[1].reports.size(), 1u);
  EXPECT_FALSE(found[2].type);
}

TEST_F(Stats, percentilesAreNearestRankOverAllWorkers) {
  setBuckets(report("a", "w", 1, 1), {{1000, 98}, {9000, 1}});
  setBuckets(report("a", "w", 1, 1), {{5000, 1}});
  const auto group = groups().at(0);
  EXPECT_EQ(group.p50WakeLatencyUs, 1.0);
  EXPECT_EQ(group.p99WakeLatencyUs, 5.0);  // the 99th of 100
}

TEST(Percentile, ranksAreExact) {
  EXPECT_FALSE(percentileNs({}, 0.5));
  EXPECT_FALSE(percentileNs({{7, 0}}, 0.5));
  EXPECT_EQ(percentileNs({{7, 1}}, 0.99), 7u);
  EXPECT_EQ(percentileNs({{1, 1}, {2, 1}}, 0.5), 1u);
  EXPECT_EQ(percentileNs({{1, 1}, {2, 1}, {3, 1}}, 0.5), 2u);
  EXPECT_EQ(percentileNs({{1, 99}, {2, 1}}, 0.99), 1u);
  EXPECT_EQ(percentileNs({{1, 98}, {2, 1}}, 0.99), 2u);
  EXPECT_EQ(percentileNs({{1, UINT64_MAX}, {2, UINT64_MAX}}, 0.99), 1u);  // saturates
}

TEST_F(Stats, runDelayIsPerTimesliceOfThoseThatKnowIt) {
  auto first = report("a", "w", 1, 1);
  first.setRunDelayValid(true);
  first.setRunDelayNs(3'000'000);
  first.setTimeslices(10);
  auto second = report("a", "w", 1, 1);
  second.setRunDelayNs(999'000'000);
  second.setTimeslices(1);
  EXPECT_EQ(groups().at(0).meanRunDelayUs, 300);
}

TEST_F(Stats, absentFiguresAreNanInTheRecord) {
  scenario_->initRoot<rpc::Scenario>().initSteps(1)[0].initCgroups(1)[0].initWork(1);
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::GroupStats>();
  writeGroup(groups().at(0), out);
  for (const double value :
       {out.getSpreadPct(), out.getMaxGapMs(), out.getP50WakeLatencyUs(), out.getP99WakeLatencyUs(),
        out.getMeanRunDelayUs(), out.getIterationsPerSecond()}) {
    EXPECT_TRUE(std::isnan(value));
  }
}

TEST_F(Stats, sumsAndUnions) {
  for (const uint32_t cpu : {3u, 1u}) {
    auto one = report("a", "w", 500'000'000, 1'000'000'000);
    one.setIterations(100);
    one.setMigrations(2);
    one.setMaxGapNs(cpu * 1'000'000);
    one.initCpusSeen(1).set(0, cpu);
    one.initCpuset(1).set(0, 1);
  }
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::GroupStats>();
  writeGroup(groups().at(0), out);
  EXPECT_EQ(out.getWorkers(), 2u);
  EXPECT_EQ(out.getIterations(), 200u);
  EXPECT_EQ(out.getIterationsPerSecond(), 200);
  EXPECT_EQ(out.getMigrations(), 4u);
  EXPECT_EQ(out.getMaxGapMs(), 3);
  ASSERT_EQ(out.getCpusSeen().size(), 2u);
  EXPECT_EQ(out.getCpusSeen()[0], 1u);
  EXPECT_EQ(out.getCpuset().size(), 1u);
}

TEST_F(Stats, variationIsThePopulationsDeviationOverTheMean) {
  EXPECT_NEAR(variation(std::vector<double>{2, 4, 4, 4, 5, 5, 7, 9}).value(), 2.0 / 5, 1e-12);
  EXPECT_NEAR(variation(WakeHistogram{{2, 1}, {4, 3}, {5, 2}, {7, 1}, {9, 1}}).value(), 2.0 / 5, 1e-12);
  EXPECT_EQ(variation(std::vector<double>{3, 3}), 0);
  EXPECT_EQ(variation(std::vector<double>{3}), std::nullopt);
  EXPECT_EQ(variation(std::vector<double>{0, 0}), std::nullopt);
  EXPECT_EQ(variation(WakeHistogram{{5, 1}}), std::nullopt);
}

TEST_F(Stats, throughputVariesByWorkPerCpuTimeOfWorkersThatUsedAny) {
  const uint64_t second = 1'000'000'000;
  report("a", "w", second, 2 * second).setWorkUnits(100);
  report("a", "w", 2 * second, 2 * second).setWorkUnits(600);
  EXPECT_NEAR(groups().at(0).throughputCv.value(), 0.5, 1e-12);  // 100 and 300 a second
  report("a", "w", 0, second).setWorkUnits(1);
  EXPECT_NEAR(groups().at(0).throughputCv.value(), 0.5, 1e-12);
  report("b", "w", second, second).setWorkUnits(100);
  EXPECT_EQ(groups().at(1).throughputCv, std::nullopt);
  EXPECT_EQ(groups().at(1).migrationRatio, std::nullopt);
}

}  // namespace
}  // namespace ktstr
