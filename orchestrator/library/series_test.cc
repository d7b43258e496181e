#include "orchestrator/library/series.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "orchestrator/library/context.h"
#include "protocol/test_error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string dumpOf(const std::string& name, int queued) {
  return text(R"({"name":")", name, R"(","maps":[{"name":"q.bss","entries":[{"key":"0","value":"{\"nr\":)",
              queued, R"(,\"on\":true}"}]}],"schedulerStats":"{\"n\":)", queued * 10, "}\"}");
}

// A run's directory with two snapshots of a series, one that was not taken, and one that the scenario asked
// for.
class SeriesRun : public testing::Test {
 protected:
  SeriesRun() {
    std::filesystem::create_directories(directory_);
    for (const auto& [name, queued] : {std::pair{"periodic_000", 5}, {"periodic_002", 7}, {"before", 1}})
      std::ofstream(directory_ + "/snapshots.jsonl", std::ios::app) << dumpOf(name, queued) << "\n";
  }
  ~SeriesRun() override { std::filesystem::remove_all(directory_); }
  RunResult result() const {
    return RunResult(text(R"({"directory":")", directory_, R"(","snapshots":[
      {"name":"before","reason":"operation","file":"snapshots.jsonl","atMs":50},
      {"name":"periodic_000","reason":"periodic","file":"snapshots.jsonl","atMs":300},
      {"name":"lost","reason":"operation","file":"snapshots.jsonl"},
      {"name":"periodic_001","reason":"periodic","failure":"the scenario had ended"},
      {"name":"periodic_002","reason":"periodic","file":"snapshots.jsonl","atMs":700}]})"),
                     {});
  }
  const std::string directory_ = text(testing::TempDir(), "series-", getpid());
};

TEST_F(SeriesRun, hasASampleForEachThatWasPlanned) {
  const SampleSeries series = result().series();
  ASSERT_EQ(series.size(), 3U);
  EXPECT_EQ(series.taken(), 2U);
  EXPECT_EQ(series.samples()[1].tag, "periodic_001");
  EXPECT_EQ(series.samples()[1].missing, "the scenario had ended");
  const auto queued = series.bpf<uint64_t>("nr");
  EXPECT_EQ(queued.at(0), 5U);
  EXPECT_EQ(queued.at(2), 7U);
  EXPECT_EQ(queued.points()[2].atMs, 700);
  EXPECT_EQ(series.stats<double>("n").at(2), 70);
  EXPECT_EQ(series.figure("tasks").at(0), 0);
  EXPECT_TRUE(series.bpf<bool>("on").at(0));
  const auto doubled = series.field<uint64_t>(
      "twice", [](const Snapshot& snapshot) { return 2 * snapshot.var("nr").asU64(); });
  EXPECT_EQ(doubled.at(2), 14U);
}

TEST_F(SeriesRun, isNotGreenWhereOneIsMissing) {
  const auto verdict = result().series().bpf<uint64_t>("nr").nondecreasing();
  EXPECT_EQ(verdict.outcome, rpc::Outcome::INCONCLUSIVE);
  EXPECT_THAT(verdict.reason, HasSubstr("periodic_001 was not taken: the scenario had ended"));
  EXPECT_THAT(result().series().bpf<uint64_t>("nope").each().atLeast(0).reason,
              HasSubstr("there are: nr, on"));
}

TEST_F(SeriesRun, snapshotsAreFoundByName) {
  EXPECT_EQ(result().snapshot("before").var("nr").asU64(), 1U);
  EXPECT_THAT(
      errorOf([&] { result().snapshot("after"); }),
      StartsWith("snapshot-not-found: the run has no snapshot \"after\" (there are: before, periodic_000"));
  EXPECT_THAT(errorOf([&] { result().snapshot("periodic_001"); }),
              StartsWith("snapshot-missing: periodic_001 was not taken: the scenario had ended"));
  EXPECT_THAT(errorOf([&] { result().snapshot("lost"); }), HasSubstr("it is not in snapshots.jsonl"));
}

TEST(Series, ofARunWithoutSnapshotsShowsNothing) {
  const SampleSeries series = RunResult("{}", {}).series();
  EXPECT_EQ(series.size(), 0U);
  EXPECT_EQ(series.bpf<uint64_t>("nr").nondecreasing().outcome, rpc::Outcome::INCONCLUSIVE);
}

}  // namespace
}  // namespace ktstr
