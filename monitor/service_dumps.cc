// The dumps that a monitor makes when asked to, in the midst of a run or instead of one.
#include <capnp/message.h>
#include <unistd.h>

#include "monitor/dump.h"
#include "monitor/freeze.h"
#include "monitor/service.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

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

void MonitorService::pauseAndDump(uint64_t nanos, const Attachment* attachment, const std::string& reason) {
  do {
    pauseUntil(nanos, asks_.asked());
    while (auto ask = asks_.take()) {
      writeDump(*ask, attachment, reason);
      ask->done->fulfill();
    }
  } while (!end_ && monotonicNs() < nanos);
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
  out.setNotFrozen(freeze ? freeze->failure() : "");
  const uint64_t thawed = monotonicNs();
  if (freeze) fillRegisters(*freeze, *attachment->kernel, out, absent);
  dump.render();
  absent.fill(out);
  out.setRenderNs(monotonicNs() - thawed);
}

}  // namespace ktstr
