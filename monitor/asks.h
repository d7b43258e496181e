// The monitor's end of the connection with whoever started it: rpc::Monitor. What is asked for waits here
// until the monitor has time for it, between two samples.
#pragma once

#include <kj/async.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/sample.capnp.h"

namespace ktstr {

struct DumpAsk {
  std::string name;
  rpc::DumpReason reason;
  std::string schedulerStats;  // JSON; empty: none was taken
};

struct WriteAsk {
  struct Operation {
    uint32_t step, op;
  };
  std::optional<Operation> of;  // the scenario's; nothing: --map-write
  std::vector<std::string> writes;
};

struct Ask {
  std::variant<DumpAsk, WriteAsk> what;
  kj::Own<kj::PromiseFulfiller<void>> done;  // to be fulfilled once the records are written
};

class Asks {
 public:
  static constexpr size_t most = 64;  // that wait

  // Error "too-many-asks" of the promise if there are `most` already.
  kj::Promise<void> add(std::variant<DumpAsk, WriteAsk> what);

  // The oldest, if there is one.
  std::optional<Ask> take();

  // Resolves as soon as there is one. One at a time: a second call makes the first one fail.
  kj::Promise<void> asked();

 private:
  std::deque<Ask> asks_;
  kj::Own<kj::PromiseFulfiller<void>> waiter_;
};

class MonitorServer final : public rpc::Monitor::Server {
 public:
  using Watch = std::function<void(const std::string& expression)>;

  // `asks` must outlive the connection. `watch` throws an Error for what cannot be watched.
  MonitorServer(Asks& asks, Watch watch) : asks_(asks), watch_(std::move(watch)) {}
  kj::Promise<void> dump(DumpContext context) override;
  kj::Promise<void> watch(WatchContext context) override;
  kj::Promise<void> write(WriteContext context) override;

 private:
  Asks& asks_;
  Watch watch_;
};

}  // namespace ktstr
