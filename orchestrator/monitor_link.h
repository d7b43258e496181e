// Reads the monitor's records from its standard output.
#pragma once

#include <kj/async-io.h>

#include <functional>
#include <string>

#include "orchestrator/record_store.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class MonitorLink {
 public:
  using OnRecord = std::function<void(rpc::MonitorRecord::Reader)>;

  // Each record but a dump becomes a JSON line of the run's samples; all go to onRecord. `record` outlives
  // the link.
  MonitorLink(PendingRecord& record, OnRecord onRecord) : record_(record), onRecord_(std::move(onRecord)) {}

  // Reads Cap'n Proto stream messages until the end of the pipe. Never fails: a malformed stream ends it,
  // with the reason in failure().
  kj::Promise<void> pump(kj::LowLevelAsyncIoProvider& io, Fd pipe);

  const std::string& failure() const { return failure_; }  // empty: none

 private:
  kj::Promise<void> next(kj::AsyncInputStream& stream);

  PendingRecord& record_;
  OnRecord onRecord_;
  std::string failure_;
};

}  // namespace ktstr
