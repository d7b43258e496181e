#include "orchestrator/snapshots.h"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "orchestrator/snapshot_store.h"
#include "protocol/text.h"
#include "protocol/transport.h"

namespace ktstr {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The monitor's end: keeps what it is asked for.
struct Asks {
  std::vector<std::string> names;
  bool fails = false, answers = true;
};
class MonitorEnd final : public rpc::Monitor::Server {
 public:
  explicit MonitorEnd(Asks& asks) : asks_(asks) {}
  kj::Promise<void> dump(DumpContext context) override {
    if (asks_.fails) kj::throwFatalException(KJ_EXCEPTION(FAILED, "the monitor is out of order"));
    asks_.names.push_back(context.getParams().getName());
    return asks_.answers ? kj::Promise<void>(kj::READY_NOW) : kj::Promise<void>(kj::NEVER_DONE);
  }

 private:
  Asks& asks_;
};

class SnapshotsOfARun : public ::testing::Test {
 protected:
  SnapshotsOfARun() {
    std::string path = (fs::temp_directory_path() / "ktstr-snapshots-XXXXXX").string();
    root_ = mkdtemp(path.data());
    record_.emplace(RecordStore(root_).begin("s", "eevdf", 1));
  }
  ~SnapshotsOfARun() override { fs::remove_all(root_); }

  Snapshots make(bool monitored = true) {
    kj::Maybe<rpc::Monitor::Client> monitor;
    if (monitored) monitor = rpc::Monitor::Client(kj::heap<MonitorEnd>(asks_));
    return Snapshots(*record_, io_->provider->getTimer(), kj::mv(monitor));
  }
  static void arrive(Snapshots& snapshots, const std::string& name,
                     rpc::DumpReason reason = rpc::DumpReason::DEMAND) {
    capnp::MallocMessageBuilder message;
    auto dump = message.initRoot<rpc::Dump>();
    dump.setName(name);
    dump.setReason(reason);
    dump.setAtNs(5'000'000'000);
    dump.setFrozenNs(2'000'000);
    dump.initScheduler().setOpsName("of " + name);
    snapshots.received(dump);
  }
  // Finishes the record; its directory.
  std::string finish(const std::vector<SnapshotFact>& facts) {
    ClockOffset clock;
    clock.offsetNs = 1'000'000'000;
    auto record = message_->initRoot<rpc::RunRecord>();
    record.initVerdict();
    writeSnapshots(facts, clock, 3'000'000'000, record);
    record_->finish(record);
    return record_->directory();
  }
  rpc::RunRecord::Reader written() { return message_->getRoot<rpc::RunRecord>(); }

  // Their destructors may throw, which a fixture's may not.
  std::unique_ptr<kj::AsyncIoContext> io_ = std::make_unique<kj::AsyncIoContext>(kj::setupAsyncIo());
  Asks asks_;
  std::string root_;
  std::optional<PendingRecord> record_;
  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
};

TEST_F(SnapshotsOfARun, AreStoredUnderNamesOfTheirOwn) {
  auto snapshots = make();
  auto first = snapshots.take("x", rpc::DumpReason::OPERATION);
  auto second = snapshots.take("x", rpc::DumpReason::OPERATION);
  io_->waitScope.poll();
  EXPECT_THAT(asks_.names, ::testing::ElementsAre("x", "x-2"));
  arrive(snapshots, "x-2");
  arrive(snapshots, "x");
  arrive(snapshots, "nobody-asked");
  EXPECT_EQ(second.wait(io_->waitScope).name, "x-2");
  EXPECT_EQ(first.wait(io_->waitScope).failure, "");
  const std::string directory = finish(snapshots.facts());
  capnp::MallocMessageBuilder message;
  loadSnapshot(directory, "x-2", message.initRoot<rpc::Dump>());
  EXPECT_EQ(message.getRoot<rpc::Dump>().getScheduler().getOpsName(), "of x-2");
  EXPECT_EQ(newestSnapshot(directory, "x"), "x") << "it came last";
  EXPECT_EQ(newestSnapshot(directory, "nothing"), "nothing");
  try {
    loadSnapshot(directory, "y", message.initRoot<rpc::Dump>());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("it has x-2, x"));
  }
  ASSERT_EQ(written().getSnapshots().size(), 2u);
  EXPECT_EQ(written().getSnapshots()[0].getFile(), "snapshots.jsonl");
  EXPECT_EQ(written().getSnapshots()[0].getAtMs(), 1000);
  EXPECT_EQ(written().getSnapshots()[0].getFrozenMs(), 2);
  EXPECT_EQ(written().getVerdict().getFindings().size(), 0u);
}

TEST_F(SnapshotsOfARun, ThatCameToNothingSayWhy) {
  auto snapshots = make();
  EXPECT_THAT(snapshots.take("a/b", rpc::DumpReason::DEMAND).wait(io_->waitScope).failure,
              StartsWith("name-invalid"));
  asks_.fails = true;
  EXPECT_THAT(snapshots.take("broken", rpc::DumpReason::OPERATION).wait(io_->waitScope).failure,
              StartsWith("monitor-failed: the monitor is out of order"));
  asks_.fails = false;
  const auto late = snapshots.take("late", rpc::DumpReason::PERIODIC);
  const auto facts = snapshots.facts();
  ASSERT_EQ(facts.size(), 3u);
  EXPECT_EQ(facts[0].name, "a_b");
  EXPECT_THAT(facts[2].failure, StartsWith("run-ended"));
  finish(facts);
  ASSERT_EQ(written().getVerdict().getFindings().size(), 1u);
  EXPECT_EQ(written().getVerdict().getFindings()[0].getName(), "snapshot-missing");
  EXPECT_EQ(written().getVerdict().getOutcome(), rpc::Outcome::INCONCLUSIVE);
}

TEST_F(SnapshotsOfARun, WithoutAMonitorAreNone) {
  auto snapshots = make(false);
  EXPECT_THAT(snapshots.take("x", rpc::DumpReason::OPERATION).wait(io_->waitScope).failure,
              StartsWith("no-monitor"));
}

TEST_F(SnapshotsOfARun, AreSixtyFour) {
  auto snapshots = make();
  for (size_t i = 0; i < 70; ++i) {
    auto taken = snapshots.take(text("s", i), rpc::DumpReason::OPERATION);
    io_->waitScope.poll();
    if (i < Snapshots::most) arrive(snapshots, text("s", i));
    EXPECT_EQ(taken.wait(io_->waitScope).failure.substr(0, 8), i < Snapshots::most ? "" : "too-many") << i;
  }
  EXPECT_EQ(snapshots.facts().size(), Snapshots::most + 1);
}

TEST_F(SnapshotsOfARun, OfAFailureComeUnasked) {
  auto snapshots = make();
  EXPECT_FALSE(snapshots.hasFailureDump());
  arrive(snapshots, "scheduler-error", rpc::DumpReason::FAILURE);
  EXPECT_TRUE(snapshots.hasFailureDump());
  ASSERT_EQ(snapshots.facts().size(), 1u);
  EXPECT_EQ(snapshots.facts()[0].failure, "");
}

TEST_F(SnapshotsOfARun, OnDemandGoThroughItsSocket) {
  auto snapshots = make();
  Fd listener = record_->listen();
  AcceptOptions accept;
  accept.name = "run.sock";
  accept.bootstrap = [&](uid_t) { return kj::heap<SnapshotServer>(snapshots); };
  const auto serving = serve(*io_, std::move(listener), accept).eagerlyEvaluate(nullptr);
  auto running = RecordStore(root_).connect("");
  EXPECT_EQ(running.id, record_->id());
  class NothingServer final : public rpc::Fd::Server {};
  Connection connection(*io_->lowLevelProvider, std::move(running.socket), kj::heap<NothingServer>());
  auto request = connection.bootstrap().castAs<rpc::Monitor>().dumpRequest();
  request.setName("mine");
  auto answer = request.send().ignoreResult().eagerlyEvaluate(nullptr);
  io_->provider->getTimer().afterDelay(100 * kj::MILLISECONDS).wait(io_->waitScope);
  arrive(snapshots, "mine");
  answer.wait(io_->waitScope);
  ASSERT_EQ(snapshots.facts().size(), 1u);
  EXPECT_EQ(snapshots.facts()[0].reason, rpc::DumpReason::DEMAND);
  finish(snapshots.facts());
  EXPECT_FALSE(fs::exists(record_->directory() + "/run.sock"));
  EXPECT_THROW(RecordStore(root_).connect(""), Error);
}

}  // namespace
}  // namespace ktstr
