// `ktstr-monitor core`: the guest's memory as an ELF vmcore.
#include <unistd.h>

#include "monitor/freeze_hold.h"
#include "monitor/service.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

// As the kernel keeps it for its own crash path (kernel/vmcore_info.c).
std::string readVmcoreinfo(const GuestKernel& kernel) {
  const auto data = kernel.readSymbol<uint64_t>("vmcoreinfo_data");
  const auto size = kernel.readSymbol<uint64_t>("vmcoreinfo_size");
  std::string content(std::min<uint64_t>(size.value_or(0), vmcoreinfoLimit), '\0');
  if (!data || !kernel.copy(*data, std::as_writable_bytes(std::span(content)))) return {};
  return content;
}

// What the kernel says of itself.
VmcoreContents describe(const GuestKernel& kernel) {
  VmcoreContents contents;
  contents.pageOffset = kernel.pageOffset();
  contents.vmcoreinfo = readVmcoreinfo(kernel);
  const auto begin = kernel.symbol("_text"), end = kernel.symbol("_end");
  const auto gpa = begin ? kernel.place().imageGpa(*begin) : std::nullopt;
  if (gpa && end && *end > *begin) {
    contents.imageVa = *begin;
    contents.imageGpa = *gpa;
    contents.imageSize = *end - *begin;
  }
  return contents;
}

uint64_t placeIn(const VmcorePlan& plan, const std::vector<RamRange>& ranges, uint64_t gpa) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (gpa >= ranges[i].gpa && gpa - ranges[i].gpa < ranges[i].size)
      return plan.places[i] + (gpa - ranges[i].gpa);
  }
  throw Error(ExitCode::infrastructure, "core-incomplete", text(hex(gpa), " is in no range of RAM"));
}

// One line on a terminal, again and again.
void show(uint64_t done, uint64_t size, const char* end) {
  const auto line = text("\rcore: ", done >> 20, " of ", size >> 20, " MiB", end);
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace

std::vector<VmcoreCpu> MonitorService::coreCpus(const Attachment& attachment) {
  const auto& kernel = *attachment.kernel;
  const auto curr = attachment.analysis->layout().member("rq.curr"),
             pid = attachment.analysis->layout().member("task_struct.pid");
  const auto runqueues = kernel.symbol("runqueues");
  std::vector<VmcoreCpu> cpus;
  bool told = vm_ != nullptr;
  for (const uint32_t number : kernel.possibleCpus()) {
    auto& cpu = cpus.emplace_back();
    const auto rq = runqueues ? kernel.perCpu(*runqueues, number) : std::nullopt;
    const auto task = rq && curr ? kernel.read<uint64_t>(*rq + curr->offset) : std::nullopt;
    if (task && pid) cpu.pid = kernel.read<int32_t>(*task + pid->offset).value_or(0);
    if (!told) continue;
    try {
      auto request = vm_->bootstrap().castAs<rpc::Observer>().registersRequest();
      request.setVcpu(number);
      const auto rip = waitFor<std::vector<uint64_t>>(request.send().then(
          [](auto&& response) { return std::vector<uint64_t>{response.getRegisters().getRip()}; }));
      if (rip) cpu.rip = rip->front();
    } catch (const Error& error) {
      log::info(text("no registers in the core: ", error.message()));
      told = false;
    }
  }
  return cpus;
}

ExitCode MonitorService::writeCore(CoreOutput& output, bool progress) {
  const Attachment attachment = attachNow();
  VmcoreContents contents = describe(*attachment.kernel);
  contents.ranges = ram_->ranges();
  if (contents.vmcoreinfo.empty()) log::warn("the core has no VMCOREINFO: the kernel has not made it yet");
  std::optional<FreezeHold> hold;
  if (vm_) hold.emplace([this] { return freezeLease(); });
  contents.cpus = coreCpus(attachment);
  const auto plan = planVmcore(contents);
  output.onPiece([&] {
    if (hold && hold->renew() && progress) show(output.position(), plan.size, "");
  });
  output.put(0, plan.head);
  ram_->scan([&](uint64_t gpa, std::span<const std::byte> bytes) {
    output.put(placeIn(plan, contents.ranges, gpa), bytes);
    return !end_;
  });
  if (end_) throw Error(ExitCode::inconclusive, "core-incomplete", end_->detail, "the file is of no use");
  output.finish(plan.size);
  if (progress) show(plan.size, plan.size, "\n");
  if (hold) log::info(text("the guest stood still for ", hold->heldNs() / 1'000'000, " ms"));
  return ExitCode::pass;
}

}  // namespace ktstr
