#include "monitor/freeze_hold.h"

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t millisecond = 1'000'000;
constexpr uint64_t renewAfter = 300 * millisecond;
constexpr uint64_t safeFor = 900 * millisecond;  // of the second that a lease lasts

}  // namespace

FreezeHold::FreezeHold(Ask ask) : ask_(std::move(ask)) {
  asked_ = monotonicNs();
  lease_ = ask_();
  begin_ = monotonicNs();
  if (!lease_)
    throw Error(ExitCode::inconclusive, "freeze-lost", "the VMM froze nothing", "the machine may have ended");
}

bool FreezeHold::renew() {
  const uint64_t asking = monotonicNs();
  if (asking - asked_ < renewAfter) return false;
  auto next = ask_();
  const uint64_t late = monotonicNs() - asked_;
  if (!next || late > safeFor) {
    throw Error(ExitCode::inconclusive, "freeze-lost",
                next ? text("the lease on the guest's freeze was renewed only after ", late / millisecond,
                            " ms: it may have run")
                     : "the guest's freeze could not be prolonged",
                "write to a file rather than to a slow pipe, and try again");
  }
  lease_ = std::move(next);
  asked_ = asking;
  return true;
}

uint64_t FreezeHold::heldNs() const {
  return monotonicNs() - begin_;
}

}  // namespace ktstr
