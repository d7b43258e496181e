#include "orchestrator/frozen.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <memory>

#include "orchestrator/schedulers.h"
#include "protocol/json.h"

namespace ktstr {
namespace {

// Events as the guest's JSON lines.
class Events {
 public:
  explicit Events(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
      messages_.push_back(std::make_unique<capnp::MallocMessageBuilder>());
      fromJson(line, messages_.back()->initRoot<rpc::GuestEvent>());
      readers_.push_back(messages_.back()->getRoot<rpc::GuestEvent>().asReader());
    }
  }
  std::span<const rpc::GuestEvent::Reader> all() const { return readers_; }

 private:
  std::vector<std::unique_ptr<capnp::MallocMessageBuilder>> messages_;
  std::vector<rpc::GuestEvent::Reader> readers_;
};

FrozenTimes frozenTimes(const std::string& ops, const std::vector<std::string>& lines) {
  capnp::MallocMessageBuilder message;
  auto scenario = message.initRoot<rpc::Scenario>();
  fromJson(R"({"steps":[{"ops":[)" + ops + "]}]}", scenario);
  return FrozenTimes(scenario.asReader(), Events(lines).all());
}

std::string applied(uint32_t op, uint64_t atNs) {
  return R"({"atNs":)" + std::to_string(atNs) + R"(,"opApplied":{"op":)" + std::to_string(op) + "}}";
}

TEST(Frozen, CountsTheTimeBetweenFreezeAndThaw) {
  const FrozenTimes times =
      frozenTimes(R"({"freezeCgroup":"p/a"},{"unfreezeCgroup":"p/a"})", {applied(0, 100), applied(1, 300)});
  EXPECT_EQ(times.frozenNs("p/a", 0, 1000), 200U);
  EXPECT_EQ(times.frozenNs("p/a", 150, 250), 100U);
  EXPECT_EQ(times.frozenNs("p/a", 250, 400), 50U);
  EXPECT_EQ(times.frozenNs("p/a", 300, 400), 0U);
  EXPECT_EQ(times.frozenNs("p/b", 0, 1000), 0U);
  EXPECT_EQ(times.frozenNs("p", 0, 1000), 0U);
  EXPECT_EQ(times.frozenNs("p/a/c", 0, 1000), 200U) << "below it";
  EXPECT_EQ(times.frozenNs("p/ab", 0, 1000), 0U);
}

TEST(Frozen, TheEndOfAStepThaws) {
  const FrozenTimes times =
      frozenTimes(R"({"freezeCgroup":"a"})", {applied(0, 100), R"({"atNs":500,"stepEnded":{}})"});
  EXPECT_EQ(times.frozenNs("a", 0, 1000), 400U);
  const FrozenTimes still = frozenTimes(R"({"freezeCgroup":"a"})", {applied(0, 100)});
  EXPECT_EQ(still.frozenNs("a", 0, 1000), 900U);
}

TEST(Frozen, FollowsTasksThatMove) {
  const FrozenTimes times =
      frozenTimes(R"({"moveAllTasks":{"from":"a","to":"b"}},{"freezeCgroup":"b"},{"stopCgroup":"b"})",
                  {applied(0, 50), applied(1, 100), applied(2, 200)});
  EXPECT_EQ(times.frozenNs("a", 0, 1000), 100U);
}

TEST(Frozen, BelievesNoOperationThatTheScenarioDoesNotHave) {
  const FrozenTimes times = frozenTimes(R"({"freezeCgroup":"a"})", {applied(7, 100)});
  EXPECT_EQ(times.frozenNs("a", 0, 1000), 0U);
}

TEST(Schedulers, SaysWhenEachWasAttachedAndLeft) {
  const Events events({R"({"atNs":10,"schedulerStarted":{"pid":1}})",
                       R"({"atNs":20,"schedulerAttached":{"opsName":"simple"}})",
                       R"({"atNs":1000020,"scenarioStarted":null})",
                       R"({"atNs":3000020,"schedulerExited":{"expected":true}})",
                       R"({"atNs":3000030,"schedulerDetached":{"opsName":"simple"}})",
                       R"({"atNs":4000020,"schedulerStarted":{"pid":2,"name":"bad"}})",
                       R"({"atNs":4500020,"schedulerExited":{"expected":false}})",
                       R"({"atNs":5000020,"schedulerStarted":{"pid":3,"name":"other"}})",
                       R"({"atNs":6000020,"schedulerAttached":{"opsName":"toy"}})",
                       R"({"atNs":7000020,"schedulerExited":{"expected":false}})"});
  const auto times = attachedTimes(events.all());
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<rpc::RunRecord>();
  writeSchedulers(times, 1'000'020, "scx_simple", record);
  ASSERT_EQ(record.getSchedulers().size(), 2U) << "one never attached";
  EXPECT_EQ(toJson(record.getSchedulers()[0].asReader()),
            R"({"name":"scx_simple","opsName":"simple","attachedMs":-1.0,"leftMs":2.0,"ordered":true})");
  EXPECT_EQ(toJson(record.getSchedulers()[1].asReader()),
            R"({"name":"other","opsName":"toy","attachedMs":5.0,"leftMs":6.0,"ordered":false})");
}

}  // namespace
}  // namespace ktstr
