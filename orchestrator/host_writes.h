// What the host writes into a guest's scheduler in a run: --map-write and --watchdog-timeout before the
// scenario begins, operations writeMap in its midst. The monitor writes; the guest waits until it has, or
// until it is known that it has not.
#pragma once

#include <capnp/message.h>
#include <kj/async.h>
#include <kj/timer.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/judge.h"
#include "protocol/report.capnp.h"
#include "protocol/sample.capnp.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

class HostWrites final : private kj::TaskSet::ErrorHandler {
 public:
  struct Asked {
    std::vector<std::string> mapWrites;  // of --map-write, which the monitor was told when it was started
    uint32_t watchdogMs = 0;             // likewise; 0: none
  };

  // `scenario` and `timer` must outlive this object. `letGoOn` lets the guest go on, once for each time that
  // it waits.
  HostWrites(Asked asked, rpc::Scenario::Reader scenario, kj::Maybe<rpc::Monitor::Client> monitor,
             kj::Timer& timer, std::function<void()> letGoOn)
      : asked_(std::move(asked)),
        scenario_(scenario),
        monitor_(kj::mv(monitor)),
        timer_(timer),
        letGoOn_(std::move(letGoOn)),
        tasks_(*this) {}

  void onEvent(rpc::GuestEvent::Reader event);
  void onRecord(rpc::MonitorRecord::Reader record);

  // Nothing is waited for any more: what the monitor has not told of an operation has come to nothing.
  void end();

  // In the order in which they were told; valid as long as this object.
  MapWrites mapWrites() const;
  WatchdogWrites watchdog() const;

 private:
  using Messages = std::vector<std::unique_ptr<capnp::MallocMessageBuilder>>;
  // Of one operation, with how many of its writes are told of.
  struct Request {
    uint32_t step, op;
    capnp::List<capnp::Text>::Reader writes;
    size_t told = 0;
  };

  void letGoAfterStart(bool begun);
  Request* find(uint32_t step, uint32_t op);
  void write(uint32_t step, uint32_t op);
  kj::Promise<void> ask(const Request& request);
  bool isAsked(rpc::MapWriteOutcome::Reader outcome);
  void fail(uint32_t step, uint32_t op, const char* failure, const std::string& problem);
  void taskFailed(kj::Exception&& exception) override;

  Asked asked_;
  rpc::Scenario::Reader scenario_;
  kj::Maybe<rpc::Monitor::Client> monitor_;
  kj::Timer& timer_;
  std::function<void()> letGoOn_;
  bool letGo_ = false;      // after the writes at the start
  size_t toldAtStart_ = 0;  // of --map-write
  std::vector<Request> requests_;
  Messages mapWrites_, watchdog_;
  kj::TaskSet tasks_;
};

}  // namespace ktstr
