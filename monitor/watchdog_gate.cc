#include "monitor/watchdog_gate.h"

#include <capnp/message.h>

#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {

WatchdogGate::WatchdogGate(const Attachment& attachment, uint64_t wantedMs, rpc::Observer::Client observer,
                           rpc::WriteGrants::Client grants, Put put)
    : kernel_(*attachment.kernel),
      watchdog_(kernel_, attachment.analysis->layout(), wantedMs),
      wantedMs_(wantedMs),
      observer_(kj::mv(observer)),
      grants_(kj::mv(grants)),
      put_(std::move(put)) {}

void WatchdogGate::attempt(kj::WaitScope& scope) {
  if (failed_) return;
  if (!watchdog_.absent().empty()) return fail("watchdog-absent", watchdog_.absent());
  const auto plan = watchdog_.plan();
  if (!plan) return;
  try {
    if (!plan->timeout)
      write(scope, *plan);
    else if (setTimeout(scope, *plan))
      tell(*plan);
  } catch (const kj::Exception& refusal) {
    fail("write-refused", refusal.getDescription().cStr());
  }
}

bool WatchdogGate::setTimeout(kj::WaitScope& scope, const Watchdog::Plan& plan) {
  ask(scope, plan);
  const auto lease = observer_.freezeLeaseRequest().send().wait(scope).getLease();
  const auto frozen = watchdog_.plan();
  if (!frozen || !frozen->timeout || frozen->scheduler != plan.scheduler) return false;
  write(scope, *frozen);
  return true;
}

void WatchdogGate::ask(kj::WaitScope& scope, const Watchdog::Plan& plan) {
  auto request = grants_.grantRequest();
  auto ranges = request.initRanges(static_cast<unsigned>(plan.words.size()));
  for (unsigned i = 0; i < ranges.size(); ++i) {
    const auto gpa = kernel_.translate(plan.words[i].address);
    ranges[i].setGpa(gpa.value_or(0));  // 0 is refused
    ranges[i].setSize(gpa ? sizeof(uint64_t) : 0);
  }
  gate_ = request.send().wait(scope).getGate();
}

void WatchdogGate::write(kj::WaitScope& scope, const Watchdog::Plan& plan) {
  std::vector<Watchdog::Word> before;
  try {
    for (const auto& word : plan.words) {
      const auto now = kernel_.read<uint64_t>(word.address);
      if (!now) kj::throwFatalException(KJ_EXCEPTION(FAILED, "the watchdog's words are not in memory"));
      writeWord(scope, word);
      before.push_back({word.address, *now});
    }
  } catch (const kj::Exception&) {
    for (auto word = before.rbegin(); word != before.rend(); ++word) writeWord(scope, *word);
    throw;
  }
  watchdog_.written(plan);
}

void WatchdogGate::writeWord(kj::WaitScope& scope, const Watchdog::Word& word) {
  KJ_IF_MAYBE (gate, gate_) {
    auto request = gate->writeRequest();
    request.setGpa(kernel_.translate(word.address).value_or(0));
    request.setBytes(kj::arrayPtr(reinterpret_cast<const kj::byte*>(&word.value), sizeof word.value));
    request.send().ignoreResult().wait(scope);
  }
}

void WatchdogGate::tell(const Watchdog::Plan& plan) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorRecord>().initWatchdog();
  out.setPlace(watchdog_.place());
  out.setBeforeMs(plan.beforeMs);
  out.setAskedMs(wantedMs_);
  out.setReadBackMs(watchdog_.timeoutMs().value_or(0));
  out.setAtNs(monotonicNs());
  put_(message.getRoot<rpc::MonitorRecord>().asReader());
}

void WatchdogGate::fail(const char* name, const std::string& problem) {
  failed_ = true;
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorRecord>().initWatchdog();
  out.setFailure(name);
  out.setProblem(problem);
  out.setAskedMs(wantedMs_);
  out.setAtNs(monotonicNs());
  put_(message.getRoot<rpc::MonitorRecord>().asReader());
}

}  // namespace ktstr
