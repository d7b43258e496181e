// The dumps of the scheduler's state that a run has: everything that wants one asks here. The monitor makes
// them (protocol/dump.capnp); each becomes a line of JSON in the run's snapshots.jsonl, and a fact of its
// record.
#pragma once

#include <kj/async-io.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/guest_clock.h"
#include "orchestrator/record_store.h"
#include "protocol/record.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

// Any words as the name of a snapshot: what a name may not have is "_", what is too long is cut.
std::string snapshotName(std::string words);

struct SnapshotFact {
  std::string name;  // one of a kind
  rpc::DumpReason reason = rpc::DumpReason::DEMAND;
  uint64_t atNs = 0;      // host CLOCK_MONOTONIC: when the copy began; 0: there is none
  uint64_t frozenNs = 0;  // 0: the guest ran meanwhile
  std::string failure;    // empty: it is stored. Else "name-invalid", "no-monitor", "too-many", "no-room",
                          // "monitor-failed", "timed-out", "run-ended", with ": " and the words
};

class Snapshots final : private kj::TaskSet::ErrorHandler {
 public:
  // Of a series, and of all others together, in one run; the first one above is a fact, too, which says so.
  static constexpr size_t most = 64;

  // `record` and `timer` must outlive this object. Without a monitor nothing is taken: "no-monitor".
  Snapshots(PendingRecord& record, kj::Timer& timer, kj::Maybe<rpc::Monitor::Client> monitor);

  // Resolves, never fails, when it is stored or came to nothing: after 10 s at the latest. Goes on also if
  // the promise is dropped. A name that is taken already gets "-2", "-3", ...
  // `noStats`: why there are no statistics of the scheduler's own.
  kj::Promise<SnapshotFact> take(std::string name, rpc::DumpReason reason, std::string schedulerStats = {},
                                 std::string noStats = {});

  // One that was to be taken, and why it was not.
  void miss(std::string name, rpc::DumpReason reason, const std::string& failure);

  // A dump that the monitor wrote. One that nobody asked for is stored if it is of a failure: the monitor saw
  // the kernel end a scheduler.
  void received(rpc::Dump::Reader dump);

  // Resolves when nothing is on its way any more.
  kj::Promise<void> settled();
  bool hasFailureDump() const;  // stored, or on its way

  // In the order in which they were asked for. What is still on its way has come to nothing: "run-ended".
  std::vector<SnapshotFact> facts() const;

 private:
  struct Entry {
    SnapshotFact fact;
    std::string noStats;
    bool settled = false;
    kj::Own<kj::PromiseFulfiller<void>> arrived;
  };
  void taskFailed(kj::Exception&& exception) override;
  size_t countLike(rpc::DumpReason reason) const;  // of a series, or all others
  Entry& enter(std::string name, rpc::DumpReason reason);
  void settle(Entry& entry, const std::string& failure);
  kj::Promise<void> ask(Entry& entry, const std::string& schedulerStats);
  void store(Entry& entry, rpc::Dump::Reader dump);

  PendingRecord& record_;
  kj::Timer& timer_;
  kj::Maybe<rpc::Monitor::Client> monitor_;
  std::vector<std::unique_ptr<Entry>> entries_;
  kj::TaskSet tasks_;
};

// Bootstrap object of the socket on which a run listens while it is written (record_store.h): dump() alone,
// with reason demand whatever is asked, answered when it is stored. Fails with the name of what came in
// between.
class SnapshotServer final : public rpc::Monitor::Server {
 public:
  explicit SnapshotServer(Snapshots& snapshots) : snapshots_(snapshots) {}
  kj::Promise<void> dump(DumpContext context) override;

 private:
  Snapshots& snapshots_;
};

// Fills RunRecord.snapshots, and adds a finding for each that a scenario asked for and that came to nothing.
void writeSnapshots(const std::vector<SnapshotFact>& facts, const std::optional<ClockOffset>& clock,
                    uint64_t scenarioStartNs, rpc::RunRecord::Builder record);

}  // namespace ktstr
