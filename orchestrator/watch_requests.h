// What the operation watch of a scenario leads to: the monitor watches, and a snapshot is taken of each
// change that it sees.
#pragma once

#include <kj/async.h>

#include <string>
#include <vector>

#include "orchestrator/snapshots.h"
#include "protocol/report.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class WatchRequests final : private kj::TaskSet::ErrorHandler {
 public:
  // Of one run: a value that changes all the time leaves room for other snapshots. The changes are all in the
  // run's samples.
  static constexpr size_t mostSnapshots = 16;

  // `snapshots` must outlive this object. Names are the expressions (snapshotName()). One that cannot be
  // watched is a snapshot that was not taken.
  WatchRequests(Snapshots& snapshots, kj::Maybe<rpc::Monitor::Client> monitor)
      : snapshots_(snapshots), monitor_(kj::mv(monitor)), tasks_(*this) {}

  void onEvent(rpc::GuestEvent::Reader event);
  // A change while a snapshot because of another one is on its way has none of its own.
  void onRecord(rpc::MonitorRecord::Reader record);

 private:
  void ask(const std::string& expression);
  void taskFailed(kj::Exception&& exception) override;

  Snapshots& snapshots_;
  kj::Maybe<rpc::Monitor::Client> monitor_;
  size_t begun_ = 0;
  bool taken_ = true;  // nothing is on its way
  kj::TaskSet tasks_;
};

}  // namespace ktstr
