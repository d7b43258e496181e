#include "orchestrator/stats_requests.h"

namespace ktstr {

kj::Promise<SchedulerAnswer> StatsRequests::ask() {
  auto paf = kj::newPromiseAndFulfiller<SchedulerAnswer>();
  waiting_ = kj::mv(paf.fulfiller);
  number_ = request_();
  return paf.promise.exclusiveJoin(timer_.afterDelay(1 * kj::SECONDS).then([] {
    return SchedulerAnswer{"", "the guest did not answer within 1 s"};
  }));
}

void StatsRequests::onEvent(rpc::GuestEvent::Reader event) {
  if (!event.isSchedulerStats() || !waiting_) return;
  const auto stats = event.getSchedulerStats();
  if (stats.getRequest() == number_) waiting_->fulfill({stats.getAnswer().cStr(), stats.getProblem().cStr()});
}

}  // namespace ktstr
