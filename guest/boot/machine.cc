#include "guest/boot/machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "guest/boot/acpi.h"
#include "guest/boot/boot_params.h"
#include "guest/boot/kernel_loader.h"
#include "guest/boot/memory_plan.h"
#include "guest/boot/page_tables.h"
#include "guest/boot/tsc.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/mailbox.h"
#include "protocol/sparse.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

// Kernel at its place, the unpacked image (LZ4 rarely does better than 4:1), per-CPU memory, and room to
// work.
void checkFits(const BootRequest& request, const KernelImage& kernel, uint64_t ramBytes) {
  const uint64_t image = 5 * request.baseLength;
  const uint64_t cpus = request.topology.vcpus() * mib;
  const uint64_t need = std::max(leastMemory, kernel.end() + image + cpus + 64 * mib);
  if (ramBytes >= need) return;
  const uint64_t needMib = (need + mib - 1) / mib;
  throw Error(ExitCode::usage, "memory-too-small",
              text(ramBytes / mib, " MiB of guest memory; at least ", needMib,
                   " MiB are needed: the kernel reaches up to ", kernel.end() / mib,
                   " MiB, the unpacked image takes about ", image / mib, ", ", request.topology.vcpus(),
                   " vCPUs ", cpus / mib, ", and 64 to work with"),
              text("ask for ", needMib, " MiB or more"));
}

bool hasWord(const std::string& line, std::string_view word) {
  return (" " + line + " ").find(text(' ', word, ' ')) != std::string::npos;
}

std::string makeCommandLine(const BootRequest& request, const MemoryPlan& plan, uint64_t tscKilohertz) {
  std::string line = "console=ttyS0 panic=-1 reboot=k pci=off quiet no_timer_check cryptomgr.notests";
  // A guest that calibrates by itself while the host is busy gets a clock that runs many times too fast or
  // too slow (arch/x86/kernel/tsc.c, delay.c). It is told the rate, and that vCPUs agree on it, which the
  // host sees to.
  if (tscKilohertz != 0) {
    line += text(" lpj=", loopsPerJiffy(tscKilohertz), " tsc_early_khz=", tscKilohertz, " tsc=reliable");
  }
  line +=
      text(" retain_initrd rdinit=/init ktstr.mailbox=", hex(plan.mailbox.gpa), ",", hex(plan.mailbox.size));
  if (!request.extraCommandLine.empty()) line += " " + request.extraCommandLine;
  if (line.size() <= commandLineMax && line.find('\0') == std::string::npos) return line;
  throw Error(
      ExitCode::usage, "command-line-too-long",
      text("the kernel command line has ", line.size(), " bytes (limit ", commandLineMax, ", no NUL)"),
      text("shorten the extra command line of ", request.extraCommandLine.size(), " bytes"));
}

void writeLowMemory(int ram, const BootRequest& request, const MemoryPlan& plan, const KernelImage& kernel,
                    const std::string& commandLine) {
  const std::vector<NodeRange> nodes = splitOverNodes(plan, request.topology);
  const Chipset chipset = request.kvmCpuid.empty()            ? Chipset::pc
                          : request.topology.hasWideApicIds() ? Chipset::none
                                                              : Chipset::kvm;
  const AcpiTables acpi = buildAcpi(request.topology, nodes, acpiGpa, chipset);
  if (acpiGpa + acpi.bytes.size() > acpiEnd) {
    throw Error(
        ExitCode::usage, "topology-invalid",
        text(request.topology.toString(), ": ACPI tables of ", acpi.bytes.size(), " bytes do not fit"));
  }
  const std::vector<E820Entry> e820 = e820Map(plan, acpi.bytes.size());
  const BootParams params{.setupHeader = kernel.setupHeader(),
                          .e820 = e820,
                          .initrd = plan.initrd,
                          .rsdpGpa = acpi.rsdpGpa,
                          .randomizeMemory = !hasWord(commandLine, "nokaslr")};
  writeSparse(ram, bootParamsGpa, buildBootParams(params));
  writeSparse(ram, commandLineGpa, std::as_bytes(std::span(commandLine)));
  writeSparse(ram, pageTablesGpa, buildPageTables(pageTablesGpa));
  writeSparse(ram, gdtGpa, buildGdt());
  writeSparse(ram, acpiGpa, acpi.bytes);
}

Fd makeMailbox(const BootRequest& request) {
  Fd fd = makeMemfd("ktstr-mailbox", request.mailboxBytes);
  const Mapping memory(fd.get(), 0, request.mailboxBytes, PROT_READ | PROT_WRITE);
  HostMailbox(memory.bytes(), request.orders);
  return fd;
}

void describeLeaves(const std::vector<CpuidLeaf>& leaves, capnp::List<rpc::CpuidEntry>::Builder list) {
  for (unsigned i = 0; i < list.size(); i++) {
    list[i].setFunction(leaves[i].function);
    list[i].setIndex(leaves[i].index);
    list[i].setIndexed(leaves[i].indexed);
    list[i].setEax(leaves[i].eax);
    list[i].setEbx(leaves[i].ebx);
    list[i].setEcx(leaves[i].ecx);
    list[i].setEdx(leaves[i].edx);
  }
}

std::vector<NodeRam> nodeRamOf(const MemoryPlan& plan, const Topology& topology) {
  std::vector<NodeRam> parts;
  for (const NodeRange& piece : splitOverNodes(plan, topology)) {
    const uint64_t offset = offsetOf(piece.range.gpa);
    if (offset < plan.ramBytes) {
      parts.push_back({piece.node, offset, std::min(piece.range.size, plan.ramBytes - offset)});
    }
  }
  return parts;
}

}  // namespace

PreparedRam prepareMachine(const BootRequest& request) {
  const TscMeter tsc;
  checkTopology(request.topology);
  const auto invalid = [](const std::string& reason) {
    throw Error(ExitCode::infrastructure, "boot-request-invalid", reason);
  };
  if (request.suffix.size() > suffixBytes) {
    invalid(text("suffix of ", request.suffix.size(), " bytes, more than ", suffixBytes));
  }
  const uint64_t declared = request.topology.memoryMib().value_or(0) * mib;
  if (declared != 0 && declared != request.memoryBytes) {
    invalid(text(request.memoryBytes, " bytes of memory for nodes with ", declared));
  }
  const uint64_t baseBytes = fileSize(request.baseFd);
  const MemoryPlan plan =
      planMemory(request.memoryBytes, baseBytes, request.baseLength, request.mailboxBytes);
  const KernelImage kernel(request.kernelFd, request.throughBzImage);
  checkFits(request, kernel, plan.ramBytes);

  PreparedRam machine;
  machine.ram = makeMemfd("ktstr-ram", plan.ramBytes);
  kernel.copyTo(machine.ram.get(), request.copyHelper);
  writeSparse(machine.ram.get(), plan.ramBytes - suffixBytes, request.suffix);
  machine.mailbox = makeMailbox(request);
  const bool onKvm = !request.kvmCpuid.empty();
  if (onKvm) machine.cpuid = machineCpuid(request.topology, request.kvmCpuid, request.realTimeHints);
  const uint64_t tscKilohertz = onKvm ? 0 : request.tscKilohertz ? *request.tscKilohertz : tsc.kilohertz();
  machine.commandLine = makeCommandLine(request, plan, tscKilohertz);
  writeLowMemory(machine.ram.get(), request, plan, kernel, machine.commandLine);

  machine.topology = request.topology;
  machine.ramBytes = plan.ramBytes;
  machine.baseBytes = baseBytes;
  machine.mailboxBytes = request.mailboxBytes;
  machine.nodeRam = nodeRamOf(plan, request.topology);
  machine.mailboxGpa = plan.mailbox.gpa;
  machine.entry = kernel.entry();
  return machine;
}

void PreparedRam::describe(rpc::PreparedMachine::Builder machine) const {
  auto shape = machine.initTopology();
  shape.setLlcs(topology.llcs);
  shape.setCoresPerLlc(topology.coresPerLlc);
  shape.setThreadsPerCore(topology.threadsPerCore);

  auto vcpus = machine.initVcpus(topology.vcpus());
  for (unsigned i = 0; i < vcpus.size(); i++) vcpus[i].setApicId(topology.apicId(i));
  auto boot = vcpus[0];
  boot.setRunnable(true);
  boot.setRip(entry);
  boot.setRsi(bootParamsGpa);
  boot.setRsp(stackTop);
  boot.setCr3(pageTablesGpa);
  boot.setGdtGpa(gdtGpa);
  boot.setGdtLimit(static_cast<uint16_t>(buildGdt().size() - 1));
  if (!cpuid.empty()) describeProcessor(machine);
}

void PreparedRam::describeProcessor(rpc::PreparedMachine::Builder machine) const {
  std::vector<CpuidLeaf> common;
  std::ranges::copy_if(cpuid, std::back_inserter(common),
                       [](const CpuidLeaf& leaf) { return !tellsVcpu(leaf.function); });
  describeLeaves(common, machine.initCpuid(static_cast<unsigned>(common.size())));
  for (auto vcpu : machine.getVcpus()) {
    const std::vector<CpuidLeaf> own = vcpuCpuid(cpuid, vcpu.getApicId());
    describeLeaves(own, vcpu.initCpuid(static_cast<unsigned>(own.size())));
  }
  // As firmware leaves them: fast string operations; memory is write-back unless the page tables say
  // otherwise.
  constexpr std::pair<uint32_t, uint64_t> msrs[] = {{0x1a0, 1}, {0x2ff, 0x806}};
  auto list = machine.initMsrs(static_cast<unsigned>(std::size(msrs)));
  for (unsigned i = 0; i < list.size(); i++) {
    list[i].setIndex(msrs[i].first);
    list[i].setValue(msrs[i].second);
  }
}

}  // namespace ktstr
