// What a run's series and watches ask of its snapshots, with a monitor that answers at once.
#include "orchestrator/watch_requests.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "orchestrator/periodic.h"
#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

// The monitor's end. A dump comes with its answer, unless it is held back.
struct Monitor {
  Snapshots* snapshots = nullptr;
  std::vector<std::string> dumps, stats, watches;
  bool holdsBack = false;

  void arrive(const std::string& name) {
    capnp::MallocMessageBuilder message;
    auto dump = message.initRoot<rpc::Dump>();
    dump.setName(name);
    dump.setAtNs(5);
    snapshots->received(dump);
  }
};

class MonitorEnd final : public rpc::Monitor::Server {
 public:
  explicit MonitorEnd(Monitor& monitor) : monitor_(monitor) {}
  kj::Promise<void> dump(DumpContext context) override {
    monitor_.dumps.emplace_back(context.getParams().getName().cStr());
    monitor_.stats.emplace_back(context.getParams().getSchedulerStats().cStr());
    if (!monitor_.holdsBack) monitor_.arrive(monitor_.dumps.back());
    return kj::READY_NOW;
  }
  kj::Promise<void> watch(WatchContext context) override {
    monitor_.watches.emplace_back(context.getParams().getExpression().cStr());
    if (monitor_.watches.back() == "nothing")
      throw Error(ExitCode::usage, "symbol-unknown", "the kernel has no symbol nothing");
    return kj::READY_NOW;
  }

 private:
  Monitor& monitor_;
};

class SnapshotRequests : public testing::Test {
 protected:
  SnapshotRequests() {
    std::string path = (fs::temp_directory_path() / "ktstr-requests-XXXXXX").string();
    root_ = mkdtemp(path.data());
    record_.emplace(RecordStore(root_).begin("s", "eevdf", 1));
    snapshots_.emplace(*record_, io_->provider->getTimer(), client());
    monitor_.snapshots = &*snapshots_;
  }
  ~SnapshotRequests() noexcept override { fs::remove_all(root_); }

  kj::Maybe<rpc::Monitor::Client> client() { return rpc::Monitor::Client(kj::heap<MonitorEnd>(monitor_)); }
  template <typename To>
  void event(To& to, const std::string& json) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<rpc::GuestEvent>();
    fromJson(json, root);
    to.onEvent(root.asReader());
  }
  void hit(WatchRequests& to, const std::string& expression) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<rpc::MonitorRecord>();
    root.initWatchHit().setExpression(expression);
    to.onRecord(root.asReader());
    io_->waitScope.poll();
  }
  void pass(unsigned milliseconds) {
    io_->provider->getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io_->waitScope);
  }
  // Of a guest that answers at once, unless it is silent.
  PeriodicSnapshots& series(std::vector<uint64_t> times) {
    const auto request = [this] {
      const uint32_t number = ++statsAsked_;
      if (!silent_) {
        later_ = kj::evalLater([this, number] {
                   event(*series_, text(R"({"schedulerStats":{"request":)", number, R"(,"answer":"{}"}})"));
                 }).eagerlyEvaluate(nullptr);
      }
      return number;
    };
    return series_.emplace(std::move(times), *snapshots_, request, io_->provider->getTimer());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& fact : snapshots_->facts())
      names.push_back(fact.name +
                      (fact.failure.empty() ? "" : " " + fact.failure.substr(0, fact.failure.find(':'))));
    return names;
  }

  std::unique_ptr<kj::AsyncIoContext> io_ = std::make_unique<kj::AsyncIoContext>(kj::setupAsyncIo());
  std::string root_;
  uint32_t statsAsked_ = 0;
  bool silent_ = false;
  std::optional<PendingRecord> record_;
  Monitor monitor_;
  std::optional<Snapshots> snapshots_;
  std::optional<PeriodicSnapshots> series_;
  kj::Promise<void> later_ = kj::READY_NOW;
};

constexpr const char* stepStarted = R"({"stepStarted":{"step":0}})";
constexpr uint64_t never = 3'600'000'000'000;

TEST_F(SnapshotRequests, aSeriesIsTakenWhileStepsRun) {
  auto& periodic = series({0, 10'000'000, never});
  event(periodic, R"({"scenarioStarted":null})");
  pass(20);
  EXPECT_THAT(names(), ElementsAre()) << "no step has begun";
  event(periodic, stepStarted);
  pass(60);
  EXPECT_THAT(names(), ElementsAre("periodic_000", "periodic_001"));
  event(periodic, R"({"scenarioEnded":null})");
  EXPECT_THAT(names(), ElementsAre("periodic_000", "periodic_001", "periodic_002 run-ended"));
  EXPECT_EQ(snapshots_->facts()[2].reason, rpc::DumpReason::PERIODIC);
  event(periodic, stepStarted);
  pass(20);
  EXPECT_EQ(names().size(), 3U);
}

TEST_F(SnapshotRequests, aSeriesPausesBetweenSteps) {
  auto& periodic = series({50'000'000});
  event(periodic, stepStarted);
  event(periodic, R"({"atNs":1000,"beganNs":900,"stepEnded":{"step":0}})");
  pass(100);
  EXPECT_THAT(names(), ElementsAre());
  event(periodic, stepStarted);
  pass(150);
  EXPECT_THAT(names(), ElementsAre("periodic_000"));
}

TEST_F(SnapshotRequests, oneThatIsLateDelaysTheNext) {
  monitor_.holdsBack = true;
  auto& periodic = series({0, 1'000'000});
  event(periodic, stepStarted);
  pass(50);
  EXPECT_THAT(monitor_.dumps, ElementsAre("periodic_000"));
  monitor_.arrive("periodic_000");
  pass(20);
  EXPECT_THAT(monitor_.dumps, ElementsAre("periodic_000", "periodic_001"));
}

TEST_F(SnapshotRequests, aSeriesHasWhatTheSchedulerSays) {
  event(series({0, 1'000'000}), stepStarted);
  pass(100);
  EXPECT_EQ(statsAsked_, 2U);
  EXPECT_THAT(monitor_.stats, ElementsAre("{}", "{}"));
}

TEST_F(SnapshotRequests, aSeriesGoesOnWithoutIt) {
  silent_ = true;
  event(series({0}), stepStarted);
  pass(1500);
  EXPECT_THAT(names(), ElementsAre("periodic_000"));
  EXPECT_THAT(monitor_.stats, ElementsAre(""));
}

TEST_F(SnapshotRequests, aWatchesChangesAreSnapshots) {
  WatchRequests watches(*snapshots_, client());
  event(watches, R"({"watchRequested":".bss:nr > 5"})");
  io_->waitScope.poll();
  EXPECT_THAT(monitor_.watches, ElementsAre(".bss:nr > 5"));
  hit(watches, ".bss:nr > 5");
  hit(watches, ".bss:nr > 5");
  EXPECT_THAT(names(), ElementsAre(".bss_nr___5", ".bss_nr___5-2"));
  EXPECT_EQ(snapshots_->facts()[0].reason, rpc::DumpReason::WATCH);
}

TEST_F(SnapshotRequests, oneThatCannotBeWatchedIsToldWithItsReason) {
  WatchRequests watches(*snapshots_, client());
  event(watches, R"({"watchRequested":"nothing"})");
  pass(1);
  EXPECT_THAT(names(), ElementsAre("nothing symbol-unknown"));
  WatchRequests blind(*snapshots_, nullptr);
  event(blind, R"({"watchRequested":"scx_root"})");
  EXPECT_THAT(names(), ElementsAre("nothing symbol-unknown", "scx_root no-monitor"));
}

TEST_F(SnapshotRequests, aBusyValueLeavesRoom) {
  WatchRequests watches(*snapshots_, client());
  monitor_.holdsBack = true;
  hit(watches, "a");
  hit(watches, "b");
  EXPECT_THAT(monitor_.dumps, ElementsAre("a")) << "while one is on its way";
  monitor_.arrive("a");
  io_->waitScope.poll();
  monitor_.holdsBack = false;
  for (size_t i = 0; i < 2 * WatchRequests::mostSnapshots; ++i) hit(watches, "b");
  EXPECT_EQ(snapshots_->facts().size(), WatchRequests::mostSnapshots);
}

TEST(SnapshotName, isAsASnapshotsMustBe) {
  EXPECT_EQ(snapshotName("scx_root"), "scx_root");
  EXPECT_EQ(snapshotName("*scx_root scx_sched ops.name"), "_scx_root_scx_sched_ops.name");
  EXPECT_EQ(snapshotName(std::string(100, 'a')), std::string(64, 'a'));
}

}  // namespace
}  // namespace ktstr
