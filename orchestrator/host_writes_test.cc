// What the host writes in a run: who is asked, when the guest goes on, and what is told.
#include "orchestrator/host_writes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>

#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using ::testing::ElementsAre;

// The monitor's end: it answers when it is told to.
struct Monitor {
  std::vector<std::string> writes;
  bool fails = false;
  kj::Own<kj::PromiseFulfiller<void>> done;
};

class MonitorEnd final : public rpc::Monitor::Server {
 public:
  explicit MonitorEnd(Monitor& monitor) : monitor_(monitor) {}
  kj::Promise<void> write(WriteContext context) override {
    if (monitor_.fails) throw Error(ExitCode::infrastructure, "too-many-asks", "64 wait already");
    const auto params = context.getParams();
    for (const auto word : params.getWrites())
      monitor_.writes.push_back(text(params.getStep(), '/', params.getOp(), ' ', word.cStr()));
    auto paf = kj::newPromiseAndFulfiller<void>();
    monitor_.done = kj::mv(paf.fulfiller);
    return kj::mv(paf.promise);
  }

 private:
  Monitor& monitor_;
};

class HostWritesTest : public ::testing::Test {
 protected:
  ~HostWritesTest() noexcept override = default;
  HostWritesTest() {
    fromJson(R"({"name":"x","steps":[{},{"ops":[{"addCgroup":"a"},{"writeMap":[".bss:a=1",".bss:b=2"]}]}]})",
             scenario_.initRoot<rpc::Scenario>());
  }

  HostWrites& start(HostWrites::Asked asked = {}, bool hasMonitor = true) {
    kj::Maybe<rpc::Monitor::Client> client;
    if (hasMonitor) client = rpc::Monitor::Client(kj::heap<MonitorEnd>(monitor_));
    return writes_.emplace(std::move(asked), scenario_.getRoot<rpc::Scenario>().asReader(), kj::mv(client),
                           io_.provider->getTimer(), [this] { ++letGo_; });
  }
  void event(const std::string& json) {
    capnp::MallocMessageBuilder message;
    fromJson(json, message.initRoot<rpc::GuestEvent>());
    writes_->onEvent(message.getRoot<rpc::GuestEvent>().asReader());
    pass();
  }
  void record(const std::string& json) {
    capnp::MallocMessageBuilder message;
    fromJson(json, message.initRoot<rpc::MonitorRecord>());
    writes_->onRecord(message.getRoot<rpc::MonitorRecord>().asReader());
  }
  void told(const std::string& asked) {
    record(text(R"({"mapWrite":{"asked":")", asked, R"(","ofOperation":true,"step":1,"op":1}})"));
  }
  void pass() {
    for (int i = 0; i < 10; ++i) io_.waitScope.poll();
  }
  std::vector<std::string> outcomes() const {
    std::vector<std::string> all;
    for (const auto outcome : writes_->mapWrites().outcomes)
      all.push_back(text(outcome.getAsked().cStr(), outcome.getFailure().size() > 0 ? " " : "",
                         outcome.getFailure().cStr()));
    return all;
  }

  kj::AsyncIoContext io_ = kj::setupAsyncIo();
  capnp::MallocMessageBuilder scenario_;
  Monitor monitor_;
  unsigned letGo_ = 0;
  std::optional<HostWrites> writes_;
};

constexpr const char* requested = R"({"writeRequested":{"step":1,"op":1}})";

TEST_F(HostWritesTest, TheGuestGoesOnWhenTheMonitorHasWritten) {
  start();
  event(requested);
  EXPECT_THAT(monitor_.writes, ElementsAre("1/1 .bss:a=1", "1/1 .bss:b=2"));
  EXPECT_EQ(letGo_, 0u);
  told(".bss:a=1");
  told(".bss:b=2");
  told(".bss:b=2");
  monitor_.done->fulfill();
  pass();
  EXPECT_EQ(letGo_, 1u);
  writes_->end();
  EXPECT_THAT(outcomes(), ElementsAre(".bss:a=1", ".bss:b=2"));
}

TEST_F(HostWritesTest, OnlyWhatTheScenarioSaysIsWrittenAndOnce) {
  start();
  event(R"({"writeRequested":{"step":1,"op":0}})");
  event(R"({"writeRequested":{"step":7,"op":0}})");
  EXPECT_EQ(letGo_, 2u) << "what waits is let go on";
  told(".bss:a=1");
  event(requested);
  event(requested);
  EXPECT_EQ(monitor_.writes.size(), 2u);
  EXPECT_EQ(letGo_, 3u);
  EXPECT_THAT(outcomes(), ElementsAre());
}

TEST_F(HostWritesTest, WhatCameToNothingIsToldWithItsReason) {
  monitor_.fails = true;
  start();
  event(requested);
  EXPECT_EQ(letGo_, 1u);
  EXPECT_THAT(outcomes(), ElementsAre(".bss:a=1 monitor-failed", ".bss:b=2 monitor-failed"));
  start({}, false);
  event(requested);
  EXPECT_EQ(letGo_, 2u);
  EXPECT_THAT(outcomes(), ElementsAre(".bss:a=1 no-monitor", ".bss:b=2 no-monitor"));
  monitor_.fails = false;
  start();
  event(requested);
  told(".bss:a=1");
  writes_->end();
  EXPECT_THAT(outcomes(), ElementsAre(".bss:a=1", ".bss:b=2 run-ended"));
}

TEST_F(HostWritesTest, TheScenarioBeginsWhenAllOfTheStartIsTold) {
  start({{".data:x=1"}, 5000});
  record(R"({"mapWrite":{"asked":".data:x=1"}})");
  EXPECT_EQ(letGo_, 0u);
  record(R"({"watchdog":{"askedMs":5000}})");
  record(R"({"watchdog":{"askedMs":5000}})");
  EXPECT_EQ(letGo_, 1u);
  event(R"({"scenarioStarted":null})");
  EXPECT_EQ(letGo_, 1u);
  EXPECT_EQ(writes_->watchdog().outcomes.size(), 2u);
  start({{".data:x=1"}, 0});
  event(R"({"scenarioStarted":null})");
  EXPECT_EQ(letGo_, 2u) << "it has waited no longer";
}

}  // namespace
}  // namespace ktstr
