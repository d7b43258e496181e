#include "monitor/asks.h"

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

kj::Promise<void> Asks::add(std::variant<DumpAsk, WriteAsk> what) {
  if (asks_.size() == most)
    throw Error(ExitCode::infrastructure, "too-many-asks", text(most, " dumps and writes wait already"));
  auto paf = kj::newPromiseAndFulfiller<void>();
  asks_.push_back({std::move(what), kj::mv(paf.fulfiller)});
  if (waiter_) waiter_->fulfill();
  return kj::mv(paf.promise);
}

std::optional<Ask> Asks::take() {
  if (asks_.empty()) return std::nullopt;
  Ask ask = std::move(asks_.front());
  asks_.pop_front();
  return ask;
}

kj::Promise<void> Asks::asked() {
  if (!asks_.empty()) return kj::READY_NOW;
  auto paf = kj::newPromiseAndFulfiller<void>();
  waiter_ = kj::mv(paf.fulfiller);
  return kj::mv(paf.promise);
}

kj::Promise<void> MonitorServer::dump(DumpContext context) {
  const auto params = context.getParams();
  return asks_.add(DumpAsk{params.getName(), params.getReason(), params.getSchedulerStats()});
}

kj::Promise<void> MonitorServer::watch(WatchContext context) {
  watch_(context.getParams().getExpression());
  return kj::READY_NOW;
}

kj::Promise<void> MonitorServer::write(WriteContext context) {
  const auto params = context.getParams();
  WriteAsk ask{WriteAsk::Operation{params.getStep(), params.getOp()}, {}};
  for (const auto word : params.getWrites()) ask.writes.emplace_back(word.cStr());
  return asks_.add(std::move(ask));
}

}  // namespace ktstr
