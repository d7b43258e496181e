// The writes that a monitor makes in the midst of a run: once, as soon as a scheduler is enabled.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "monitor/attach.h"
#include "monitor/map_write_gate.h"
#include "protocol/error.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class PendingWrites {
 public:
  using Put = std::function<void(rpc::MonitorRecord::Reader)>;

  // MAP:PLACE=VALUE each (parseMapWrite()); one MonitorRecord of each goes to `put`.
  PendingWrites(std::vector<std::string> asked, Put put) : asked_(std::move(asked)), put_(std::move(put)) {}

  bool pending() const { return !asked_.empty(); }

  // At the end: tells why nothing has been written, if it was tried.
  void giveUp();

  // To be called after each sample in which sched_ext is enabled, while pending(). Writes all or none,
  // through a gate for just the bytes that are written. What cannot be planned is tried again at the next
  // calls, ten in all, since the guest may be changing its maps just then; after that it is told. Throws
  // nothing that concerns the writes.
  void attempt(kj::WaitScope& scope, const Attachment& attachment, rpc::WriteGrants::Client grants);

 private:
  std::optional<std::vector<PlannedMapWrite>> plan(const Attachment& attachment);
  void tellWritten(const GuestKernel& kernel, const std::vector<PlannedMapWrite>& planned);

  std::vector<std::string> asked_;
  Put put_;
  struct Failure {
    size_t which;  // of asked_
    Error error;
  };
  std::optional<Failure> failure_;  // of the last try
  unsigned tries_ = 0;
};

}  // namespace ktstr
