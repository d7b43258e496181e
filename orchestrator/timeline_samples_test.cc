#include "orchestrator/timeline_samples.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "protocol/json.h"

namespace ktstr {
namespace {

TEST(TimelineSamples, takesFromASampleWhatTheTimelineShows) {
  TimelineSamples samples;
  const auto add = [&](const char* json) {
    capnp::MallocMessageBuilder message;
    fromJson(json, message.initRoot<rpc::MonitorRecord>());
    samples.add(message.getRoot<rpc::MonitorRecord>().asReader());
  };
  add(R"({"attached":{"scxEventNames":["SCX_EV_DISPATCH_KEEP_LAST","X","SCX_EV_SELECT_CPU_FALLBACK"]}})");
  add(R"({"sample":{"atNs":100,"cpus":[
    {"cpu":0,"valid":true,"nrRunning":3,"clock":5,"scxValid":true,"localDsqDepth":4,"scxEvents":[1,2,3]},
    {"cpu":1,"valid":true,"nrRunning":1,"clock":5,"scxValid":true,"localDsqDepth":0,"scxEvents":[10,20,30]}]}})");
  add(R"({"sample":{"atNs":50,"cpus":[]}})");
  add(R"({"sample":{"atNs":200,"cpus":[{"cpu":0,"scxValid":true,"localDsqDepth":20000}]}})");
  add(R"({"sample":{"atNs":300,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":5,"currPid":7}]}})");
  add(R"({"sample":{"atNs":400,"cpus":[{"cpu":0,"valid":true,"nrRunning":1,"clock":5,"currPid":7}]}})");
  ASSERT_EQ(samples.all().size(), 3U);
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

}  // namespace
}  // namespace ktstr
