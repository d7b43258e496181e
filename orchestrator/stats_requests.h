// Asks a run's guest for what its scheduler says of itself (guest/agent/scheduler_stats.h).
#pragma once

#include <kj/async.h>
#include <kj/timer.h>

#include <functional>
#include <string>

#include "protocol/report.capnp.h"

namespace ktstr {

struct SchedulerAnswer {
  std::string json;     // as the scheduler's socket gave it: {"errno":0,"args":{"resp":{...}}}; empty: none
  std::string problem;  // why
};

class StatsRequests {
 public:
  // `request` makes the guest ask, and returns the request's number. `timer` must outlive this object.
  StatsRequests(std::function<uint32_t()> request, kj::Timer& timer)
      : request_(std::move(request)), timer_(timer) {}

  // One at a time. Never fails, and takes 1 s at most.
  kj::Promise<SchedulerAnswer> ask();
  void onEvent(rpc::GuestEvent::Reader event);

 private:
  std::function<uint32_t()> request_;
  kj::Timer& timer_;
  uint32_t number_ = 0;
  kj::Own<kj::PromiseFulfiller<SchedulerAnswer>> waiting_;
};

}  // namespace ktstr
