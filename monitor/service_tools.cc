// What the monitor does instead of sampling: one look, one write.
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
  const Attachment attachment = attachNow();
  const auto plan = planMapWrites(*attachment.kernel, attachment.analysis->layout(), std::span(&write, 1));
  writeMaps(io_.waitScope, gate_->bootstrap().castAs<rpc::WriteGate>(), plan);
  const auto& done = plan.front();
  const auto after = readBack(*attachment.kernel, done);
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
  const Attachment attachment = attachNow();
  std::optional<rpc::FreezeLease::Client> lease;
  if (options_.freeze && vm_) lease = freezeLease();
  const auto findings = ktstr::inspect(*ram_, attachment, what);
  lease.reset();
  writeAll(STDOUT_FILENO,
           options_.format == RecordFormat::text ? asTable(findings.records) : asJsonLines(findings.records));
  for (const auto& problem : findings.problems) log::warn(problem);
  return findings.problems.empty() ? ExitCode::pass : ExitCode::inconclusive;
}

}  // namespace ktstr
