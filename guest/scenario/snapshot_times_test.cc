#include "guest/scenario/snapshot_times.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest/scenario/validate.h"
#include "protocol/json.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Parsed {
  capnp::MallocMessageBuilder message;
  rpc::Scenario::Reader scenario;

  Parsed(uint32_t snapshots, const std::string& steps) {
    auto root = message.initRoot<rpc::Scenario>();
    fromJson(R"({"name":"s","durationMs":1000,"steps":[)" + steps + "]}", root);
    root.setSnapshots(snapshots);
    scenario = root.asReader();
  }
};

const std::string cgroup = R"("cgroups":[{"name":"a","work":[{}]}])";

TEST(SnapshotTimes, divideTheMiddleEvenly) {
  const std::string long10 = "{" + cgroup + R"(,"hold":{"fixedMs":10000}})";
  const std::string long20 = "{" + cgroup + R"(,"hold":{"fixedMs":20000}})";
  EXPECT_THAT(snapshotTimes(Parsed(0, long10).scenario), IsEmpty());
  EXPECT_THAT(snapshotTimes(Parsed(1, long10).scenario), ElementsAre(5'000'000'000));
  EXPECT_THAT(snapshotTimes(Parsed(3, long10).scenario),
              ElementsAre(3'000'000'000, 5'000'000'000, 7'000'000'000));
  std::vector<uint64_t> ms = snapshotTimes(Parsed(5, long20).scenario);
  for (uint64_t& time : ms) time /= 1'000'000;
  EXPECT_THAT(ms, ElementsAre(4666, 7333, 10000, 12666, 15333));
}

TEST(SnapshotTimes, lengthIsWhatTheStepsPlan) {
  EXPECT_EQ(plannedMs(Parsed(0, R"({"hold":{"fraction":0.5}})").scenario), 500U);
  EXPECT_EQ(plannedMs(Parsed(0, R"({"ops":[{"sleepMs":70}],"hold":{"fixedMs":30}},{})").scenario), 1100U);
  EXPECT_EQ(plannedMs(Parsed(0, R"({"ops":[{"sleepMs":70}],"hold":{"loop":{"fraction":2}}})").scenario),
            2000U);
}

TEST(SnapshotTimes, thatMeanNothingAreRefusedBeforeBoot) {
  const std::string step = "{" + cgroup + "}";
  const auto verdict = [&](uint32_t count) {
    const Parsed parsed(count, step);
    return errorOf([&] { validateScenario(parsed.scenario, parseTopology("1n1l1c1t")); });
  };
  EXPECT_EQ(verdict(7), "no error") << "800 ms of the second in 8 parts";
  EXPECT_EQ(verdict(8),
            "scenario-invalid: snapshots: 8 of a scenario of 1000 ms would be less than 100 ms apart "
            "(ask for 7 or fewer, or make it longer)");
  EXPECT_THAT(verdict(65), HasSubstr("snapshots: 65 is not from 0 to 64"));
}

}  // namespace
}  // namespace ktstr
