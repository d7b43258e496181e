#include "orchestrator/timeline_samples.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "orchestrator/timeline_figures.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

// What the timeline keeps of records that the analysis has seen, too.
class Watched {
 public:
  void add(const char* json) {
    capnp::MallocMessageBuilder message;
    fromJson(json, message.initRoot<rpc::MonitorRecord>());
    const auto record = message.getRoot<rpc::MonitorRecord>().asReader();
    samples_.add(record, analysis_.add(record));
  }
  const std::vector<TimelineSample>& all() const { return samples_.all(); }

 private:
  MonitorAnalysis analysis_{Limits{}};
  TimelineSamples samples_;
};

TEST(TimelineSamples, takesFromASampleWhatTheTimelineShows) {
  Watched samples;
  samples.add(
      R"({"attached":{"scxEventNames":["SCX_EV_DISPATCH_KEEP_LAST","X","SCX_EV_SELECT_CPU_FALLBACK"]}})");
  samples.add(R"({"sample":{"atNs":100,"cpus":[
    {"cpu":0,"valid":true,"nrRunning":3,"clock":5,"scxValid":true,"localDsqDepth":4,"scxEvents":[1,2,3]},
    {"cpu":1,"valid":true,"nrRunning":1,"clock":5,"scxValid":true,"localDsqDepth":0,"scxEvents":[10,20,30]}]}})");
  samples.add(
      R"({"sample":{"atNs":200,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":6,"currPid":7}]}})");
  samples.add(
      R"({"sample":{"atNs":200,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":6,"currPid":7}]}})");
  samples.add(
      R"({"sample":{"atNs":300,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":6,"currPid":7}]}})");
  ASSERT_EQ(samples.all().size(), 3U) << "one came no later than the one before";
  const TimelineSample& first = samples.all()[0];
  EXPECT_EQ(first.imbalance, 3);
  EXPECT_EQ(first.maxDsqDepth, 4);
  EXPECT_EQ(first.dsqDepth, 2);
  EXPECT_EQ(first.nrRunning, 2);
  EXPECT_EQ(first.fallback, 33U);
  EXPECT_EQ(first.keepLast, 11U);
  EXPECT_FALSE(first.stalled);
  EXPECT_TRUE(samples.all()[2].stalled);
  EXPECT_FALSE(samples.all()[2].dsqDepth);
  EXPECT_FALSE(samples.all()[2].fallback);
}

TEST(TimelineSamples, leavesOutWhatTheVerdictDoesNotBelieve) {
  Watched samples;
  samples.add(R"({"sample":{"atNs":100,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":50}]}})");
  samples.add(R"({"sample":{"atNs":200,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":40}]}})");
  samples.add(R"({"sample":{"atNs":300,"cpus":[{"cpu":0,"valid":false}]}})");
  samples.add(R"({"sample":{"atNs":400,"cpus":[
    {"cpu":0,"valid":true,"nrRunning":1,"clock":60,"scxValid":true,"localDsqDepth":20000}]}})");
  samples.add(R"({"sample":{"atNs":500,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":70}]}})");
  ASSERT_EQ(samples.all().size(), 2U);
  EXPECT_EQ(samples.all()[1].atNs, 500U);
}

TEST(TimelineSamples, aCpuThatCouldNotBeReadLeavesAGapInTheRates) {
  Watched samples;
  samples.add(R"({"attached":{"scxEventNames":["SCX_EV_SELECT_CPU_FALLBACK"]}})");
  const auto cpus = [](int at, const char* first, const char* second) {
    return std::string(R"({"sample":{"atNs":)") + std::to_string(at) + R"(00000000,"cpus":[)" +
           R"({"cpu":0,"valid":true,"clock":)" + std::to_string(at) + R"(,"scxEvents":)" + first +
           R"(},{"cpu":1,"valid":true,"clock":)" + std::to_string(at) + R"(,"scxEvents":)" + second + "}]}}";
  };
  samples.add(cpus(1, "[1000]", "[70]").c_str());
  samples.add(cpus(2, "[1001]", "[71]").c_str());
  samples.add(cpus(3, "[]", "[72]").c_str());
  samples.add(cpus(4, "[1003]", "[73]").c_str());
  samples.add(cpus(5, "[1004]", "[74]").c_str());
  ASSERT_EQ(samples.all().size(), 5U);
  EXPECT_FALSE(samples.all()[2].fallback);
  const MonitorFigures figures = monitorFigures(samples.all());
  ASSERT_TRUE(figures.fallbackRate);
  EXPECT_DOUBLE_EQ(*figures.fallbackRate, 20) << "two each 100 ms, not CPU 0's history";
}

}  // namespace
}  // namespace ktstr
