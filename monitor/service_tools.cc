// What the monitor does besides sampling, or instead of it: one look, one write, watching.
#include <capnp/message.h>
#include <unistd.h>

#include "monitor/service.h"
#include "protocol/file.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {

Attachment MonitorService::attachNow() {
  std::string reason;
  auto attachment =
      ram_ ? attach(reason, monotonicNs() + uint64_t{options_.attachMs} * 1'000'000) : std::nullopt;
  if (!attachment) {
    throw Error(ExitCode::inconclusive, "kernel-not-found", end_ ? end_->detail : reason,
                "the guest's kernel may not be up yet");
  }
  return std::move(*attachment);
}

ExitCode MonitorService::writeMap(const MapWrite& write) {
  if (!vm_)
    throw Error(ExitCode::usage, "vm-missing", "nobody can make the guest stand still for the write",
                "give its VMM's observe socket with --vm");
  const Attachment attachment = attachNow();
  const auto plan = [&] {
    return planMapWrites(*attachment.kernel, attachment.analysis->layout(), std::span(&write, 1));
  };
  const auto writes = writeMapsFrozen(
      {io_, vm_->bootstrap().castAs<rpc::Observer>(), gate_->bootstrap().castAs<rpc::WriteGate>()},
      *attachment.kernel, plan(), plan);
  const auto& done = writes.made.front();
  const auto& after = writes.after.front();
  Value record = Value::object();
  record.add("map", Value::named(done.map))
      .add("address", Value::named(hex(done.address)))
      .add("before", Value::ofBytes(done.before))
      .add("wrote", Value::ofBytes(done.bytes))
      .add("after", Value::ofBytes(after));
  writeAll(STDOUT_FILENO, options_.format == RecordFormat::text ? asTable({record}) : asJsonLines({record}));
  return after == done.bytes ? ExitCode::pass : ExitCode::inconclusive;
}

std::optional<rpc::FreezeLease::Client> MonitorService::freezeLease() {
  return waitFor<rpc::FreezeLease::Client>(
      vm_->bootstrap().castAs<rpc::Observer>().freezeLeaseRequest().send().then(
          [](auto&& response) { return response.getLease(); }));
}

ExitCode MonitorService::inspect(const Inspection& what) {
  if (what.command == "dump" || what.command == "dsqs") return dumpOnce(what);
  const Attachment attachment = attachNow();
  std::optional<rpc::FreezeLease::Client> lease;
  if (options_.freeze && vm_) lease = freezeLease();
  const auto findings = ktstr::inspect(attachment, what);
  lease.reset();
  writeAll(STDOUT_FILENO,
           options_.format == RecordFormat::text ? asTable(findings.records) : asJsonLines(findings.records));
  for (const auto& problem : findings.problems) log::warn(problem);
  return findings.problems.empty() ? ExitCode::pass : ExitCode::inconclusive;
}

namespace {

WatchedGuest guestOf(const Attachment& attachment) {
  return {*attachment.kernel, attachment.analysis->layout(), attachment.analysis->symbols()};
}

}  // namespace

void MonitorService::watch(const std::string& expression) {
  if (watched_ == nullptr)
    throw Error(ExitCode::inconclusive, "kernel-not-found", "the guest's kernel was not found yet");
  watches_.add(expression, guestOf(*watched_));
}

size_t MonitorService::tellWatches() {
  if (watches_.empty()) return 0;
  const auto changes = watches_.look(guestOf(*watched_));
  const uint64_t now = monotonicNs();
  for (const auto& change : changes) {
    capnp::MallocMessageBuilder message;
    auto hit = message.initRoot<rpc::MonitorRecord>().initWatchHit();
    hit.setExpression(change.expression);
    hit.setBefore(change.before);
    hit.setAfter(change.after);
    hit.setSequence(samples_ > 0 ? samples_ - 1 : 0);
    hit.setAtNs(now);
    put(message.getRoot<rpc::MonitorRecord>());
  }
  return changes.size();
}

ExitCode MonitorService::watchAll(const std::vector<std::string>& expressions) {
  const Attachment attachment = attachNow();
  watched_ = &attachment;
  for (const auto& expression : expressions) watch(expression);
  uint64_t hits = 0;
  for (uint64_t next = monotonicNs(); !end_ && (options_.count == 0 || hits < options_.count);) {
    hits += tellWatches();
    next = std::max(next + uint64_t{options_.periodMs} * 1'000'000, monotonicNs());
    if (!end_ && (options_.count == 0 || hits < options_.count)) pauseUntil(next);
  }
  watched_ = nullptr;
  return ExitCode::pass;
}

}  // namespace ktstr
