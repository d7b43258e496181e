#include "monitor/dump_asks.h"

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

kj::Promise<void> DumpAsks::add(std::string name, rpc::DumpReason reason, std::string schedulerStats) {
  if (asks_.size() == most)
    throw Error(ExitCode::infrastructure, "too-many-dumps", text(most, " dumps wait already"));
  auto paf = kj::newPromiseAndFulfiller<void>();
  asks_.push_back({std::move(name), reason, std::move(schedulerStats), kj::mv(paf.fulfiller)});
  if (waiter_) waiter_->fulfill();
  return kj::mv(paf.promise);
}

std::optional<DumpAsk> DumpAsks::take() {
  if (asks_.empty()) return std::nullopt;
  DumpAsk ask = std::move(asks_.front());
  asks_.pop_front();
  return ask;
}

kj::Promise<void> DumpAsks::asked() {
  if (!asks_.empty()) return kj::READY_NOW;
  auto paf = kj::newPromiseAndFulfiller<void>();
  waiter_ = kj::mv(paf.fulfiller);
  return kj::mv(paf.promise);
}

kj::Promise<void> MonitorServer::dump(DumpContext context) {
  const auto params = context.getParams();
  return asks_.add(params.getName(), params.getReason(), params.getSchedulerStats());
}

kj::Promise<void> MonitorServer::watch(WatchContext context) {
  watch_(context.getParams().getExpression());
  return kj::READY_NOW;
}

}  // namespace ktstr
