// Writes that a monitor makes in the midst of a run: those of --map-write as soon as a scheduler is enabled,
// those that are asked for as soon as they can be planned.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "monitor/asks.h"
#include "monitor/attach.h"
#include "monitor/map_write_gate.h"
#include "protocol/error.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class PendingWrites {
 public:
  using Put = std::function<void(rpc::MonitorRecord::Reader)>;

  // Words as of parseMapWrite(); one MonitorRecord of each goes to `put`, then `done` is fulfilled, if there
  // is one.
  PendingWrites(WriteAsk ask, Put put, kj::Own<kj::PromiseFulfiller<void>> done = {})
      : of_(ask.of), asked_(std::move(ask.writes)), put_(std::move(put)), done_(kj::mv(done)) {}

  bool pending() const { return !asked_.empty(); }
  bool ofOperation() const { return of_.has_value(); }

  // At the end: tells why nothing has been written, if it was tried.
  void giveUp();

  // To be called after each sample in which sched_ext is enabled (of an operation: in any case), while
  // pending(). Writes all or none, through a gate for just the bytes that are written, while the guest stands
  // still. What cannot be planned is tried again at the next calls, ten in all, since the guest may be
  // changing its maps just then; after that it is told. Throws nothing that concerns the writes.
  void attempt(kj::AsyncIoContext& io, const Attachment& attachment, rpc::Observer::Client observer,
               rpc::WriteGrants::Client grants);

 private:
  // Of all that was asked for. Throws what planMapWrites() throws, and keeps it as failure_.
  std::vector<PlannedMapWrite> plan(const Attachment& attachment);
  void tell(const std::string& asked, const std::function<void(rpc::MapWriteOutcome::Builder)>& fill) const;
  void settle();
  void tellWritten(const FrozenWrites& writes);

  std::optional<WriteAsk::Operation> of_;
  std::vector<std::string> asked_;
  Put put_;
  kj::Own<kj::PromiseFulfiller<void>> done_;
  struct Failure {
    size_t which;  // of asked_
    Error error;
  };
  std::optional<Failure> failure_;  // of the last try
  unsigned tries_ = 0;
};

}  // namespace ktstr
