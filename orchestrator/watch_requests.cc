#include "orchestrator/watch_requests.h"

#include "protocol/call_error.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// "symbol-unknown: ..." of what a call failed with.
std::string reasonOf(const kj::Exception& exception) {
  try {
    rethrowAsError(exception);
  } catch (const Error& error) {
    return text(error.name(), ": ", error.message());
  }
}

}  // namespace

void WatchRequests::onEvent(rpc::GuestEvent::Reader event) {
  if (event.isWatchRequested()) ask(event.getWatchRequested().cStr());
}

void WatchRequests::ask(const std::string& expression) {
  KJ_IF_MAYBE (monitor, monitor_) {
    auto request = monitor->watchRequest();
    request.setExpression(expression);
    tasks_.add(request.send().ignoreResult().catch_([this, expression](kj::Exception&& exception) {
      snapshots_.miss(expression, rpc::DumpReason::WATCH, reasonOf(exception));
    }));
    return;
  }
  snapshots_.miss(expression, rpc::DumpReason::WATCH, "no-monitor: this run has no monitor that could watch");
}

void WatchRequests::onRecord(rpc::MonitorRecord::Reader record) {
  if (!record.isWatchHit() || !taken_ || begun_ == mostSnapshots) return;
  taken_ = false;
  ++begun_;
  tasks_.add(
      snapshots_.take(snapshotName(record.getWatchHit().getExpression().cStr()), rpc::DumpReason::WATCH)
          .then([this](SnapshotFact) { taken_ = true; }));
}

void WatchRequests::taskFailed(kj::Exception&& exception) {
  log::warn(text("watch: ", exception.getDescription().cStr()));
}

}  // namespace ktstr
