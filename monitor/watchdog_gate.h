// Keeps the watchdog's timeout of whichever scheduler is attached at what was asked for, through the VMM's
// gate.
#pragma once

#include <kj/async.h>

#include <functional>
#include <map>

#include "monitor/attach.h"
#include "monitor/watchdog.h"
#include "protocol/machine.capnp.h"
#include "protocol/sample.capnp.h"

namespace ktstr {

class WatchdogGate {
 public:
  using Put = std::function<void(rpc::MonitorRecord::Reader)>;

  // `attachment` must outlive this object; one MonitorRecord of each scheduler goes to `put`.
  WatchdogGate(const Attachment& attachment, uint64_t wantedMs, rpc::Observer::Client observer,
               rpc::WriteGrants::Client grants, Put put);

  // To be called after each sample in which sched_ext is enabled. Writes the timeout while the guest is
  // frozen. What fails is told once and not tried again. Throws nothing that concerns the write.
  void attempt(kj::WaitScope& scope);

 private:
  // False: the guest has another scheduler by now.
  bool setTimeout(kj::WaitScope& scope, const Watchdog::Plan& plan);
  void ask(kj::WaitScope& scope, const Watchdog::Plan& plan);
  // All words or none. Throws kj::Exception with the gate's words.
  void write(kj::WaitScope& scope, const Watchdog::Plan& plan);
  void writeWord(kj::WaitScope& scope, const Watchdog::Word& word);
  void tell(const Watchdog::Plan& plan);
  void fail(const char* name, const std::string& problem);

  const GuestKernel& kernel_;
  Watchdog watchdog_;
  uint64_t wantedMs_;
  rpc::Observer::Client observer_;
  rpc::WriteGrants::Client grants_;
  Put put_;
  kj::Maybe<rpc::WriteGate::Client> gate_;
  bool failed_ = false;
};

}  // namespace ktstr
