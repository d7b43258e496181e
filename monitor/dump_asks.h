// The monitor's end of the connection with whoever started it: rpc::Monitor. What is asked for waits here
// until the monitor has time for it, between two samples.
#pragma once

#include <kj/async.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "protocol/sample.capnp.h"

namespace ktstr {

struct DumpAsk {
  std::string name;
  rpc::DumpReason reason;
  std::string schedulerStats;  // JSON; empty: none was taken
  kj::Own<kj::PromiseFulfiller<void>>
      done;  // to be fulfilled once the record is written; none of our own asks
};

class DumpAsks {
 public:
  static constexpr size_t most = 64;  // that wait

  // Error "too-many-dumps" of the promise if there are `most` already.
  kj::Promise<void> add(std::string name, rpc::DumpReason reason, std::string schedulerStats);

  // The oldest, if there is one.
  std::optional<DumpAsk> take();

  // Resolves as soon as there is one. One at a time: a second call makes the first one fail.
  kj::Promise<void> asked();

 private:
  std::deque<DumpAsk> asks_;
  kj::Own<kj::PromiseFulfiller<void>> waiter_;
};

class MonitorServer final : public rpc::Monitor::Server {
 public:
  using Watch = std::function<void(const std::string& expression)>;

  // `asks` must outlive the connection. `watch` throws an Error for what cannot be watched.
  MonitorServer(DumpAsks& asks, Watch watch) : asks_(asks), watch_(std::move(watch)) {}
  kj::Promise<void> dump(DumpContext context) override;
  kj::Promise<void> watch(WatchContext context) override;

 private:
  DumpAsks& asks_;
  Watch watch_;
};

}  // namespace ktstr
