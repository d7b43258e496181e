// What a monitor does when asked to in the midst of a run, and the dumps that it makes instead of one.
#include <capnp/message.h>
#include <unistd.h>

#include <algorithm>

#include "monitor/dump.h"
#include "monitor/dump_text.h"
#include "monitor/freeze.h"
#include "monitor/service.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// From a scheduler's error to the kernel's taking its tasks away: tens of milliseconds and more.
constexpr uint64_t errorLookNs = 2'000'000;

void fillRegisters(const Freeze& freeze, const GuestKernel& kernel, rpc::Dump::Builder out,
                   Absences& absent) {
  if (!freeze.registersAbsent().empty()) absent.add("registers", freeze.registersAbsent());
  auto list = out.initRegisters(static_cast<unsigned>(freeze.registers().size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const auto& vcpu = freeze.registers()[i];
    list[i].setRip(vcpu.rip);
    list[i].setSymbol(kernel.symbolAt(vcpu.rip).value_or(""));
    list[i].setCr3(vcpu.cr3);
  }
}

}  // namespace

void MonitorService::pauseAndAnswer(uint64_t nanos, const Attachment* attachment, const std::string& reason) {
  do {
    pauseUntil(errors_ ? std::min(nanos, monotonicNs() + errorLookNs) : nanos, asks_.asked());
    if (errors_ && errors_->look())
      writeDump({"scheduler-error", rpc::DumpReason::FAILURE, {}}, attachment, reason);
    while (auto ask = asks_.take()) answer(std::move(*ask), attachment, reason);
  } while (!end_ && monotonicNs() < nanos);
}

void MonitorService::answer(Ask ask, const Attachment* attachment, const std::string& reason) {
  if (auto* const write = std::get_if<WriteAsk>(&ask.what)) {
    writes_.emplace_back(
        std::move(*write), [this](rpc::MonitorRecord::Reader record) { put(record); }, kj::mv(ask.done));
    if (attachment) attemptWrites(*attachment, false);
    return;
  }
  writeDump(std::get<DumpAsk>(ask.what), attachment, reason);
  ask.done->fulfill();
}

void MonitorService::attemptWrites(const Attachment& attachment, bool enabled) {
  for (auto& write : writes_) {
    if (!end_ && (enabled || write.ofOperation()))
      write.attempt(io_, attachment, vm_->bootstrap().castAs<rpc::Observer>(),
                    grants_->bootstrap().castAs<rpc::WriteGrants>());
  }
  writes_.remove_if([](const PendingWrites& write) { return !write.pending(); });
}

void MonitorService::writeDump(const DumpAsk& ask, const Attachment* attachment, const std::string& reason) {
  capnp::MallocMessageBuilder message;
  fillDump(message.initRoot<rpc::MonitorRecord>().initDump(), ask, attachment, reason);
  put(message.getRoot<rpc::MonitorRecord>());
}

void MonitorService::fillDump(rpc::Dump::Builder out, const DumpAsk& ask, const Attachment* attachment,
                              const std::string& reason) {
  out.setName(ask.name);
  out.setReason(ask.reason);
  out.setSchedulerStats(ask.schedulerStats);
  out.setAtNs(monotonicNs());
  Absences absent;
  if (ask.schedulerStats.empty()) absent.add("schedulerStats", "nobody asked the scheduler for them");
  if (!attachment) {
    out.setNotFrozen("there is nothing to copy");
    absent.add("kernel", reason);
    return absent.fill(out);
  }
  std::optional<Freeze> freeze;
  if (vm_)
    freeze.emplace(io_, vm_->bootstrap().castAs<rpc::Observer>(),
                   static_cast<uint32_t>(attachment->kernel->possibleCpus().size()));
  const uint64_t begin = monotonicNs();
  out.setAtNs(begin);
  KernelDump dump(*attachment, out, absent);
  const uint64_t copied = monotonicNs();
  out.setCopyNs(copied - begin);
  if (freeze) freeze->thaw();
  out.setFrozenNs(freeze ? freeze->frozenNs() : 0);
  out.setNotFrozen(freeze ? freeze->failure() : "it is a file, in which nothing runs");
  const uint64_t thawed = monotonicNs();
  if (freeze) fillRegisters(*freeze, *attachment->kernel, out, absent);
  dump.render();
  absent.fill(out);
  out.setRenderNs(monotonicNs() - thawed);
}

ExitCode MonitorService::dumpOnce(const Inspection& what) {
  const Attachment attachment = attachNow();
  const bool named = !what.arguments.empty() && !what.arguments.front().empty();
  capnp::MallocMessageBuilder message;
  auto dump = message.initRoot<rpc::Dump>();
  fillDump(dump, {named ? what.arguments.front() : what.command, rpc::DumpReason::DEMAND, {}}, &attachment,
           {});
  std::string out;
  if (options_.format == RecordFormat::text) {
    out = what.command == "dsqs" ? dsqsAsText(dump) : dumpAsText(dump);
  } else if (what.command == "dsqs") {
    for (const auto dsq : dump.asReader().getDsqs()) out += toJson(dsq) + '\n';
  } else {
    out = toJson(dump.asReader()) + '\n';
  }
  writeAll(STDOUT_FILENO, out);
  return ExitCode::pass;
}

}  // namespace ktstr
