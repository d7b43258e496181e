#include "vmm/machine_check.h"

#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::vmm {
namespace {

// What a machine may need to have set before its first instruction, and which of its bits: IA32_MISC_ENABLE
// (fast strings), IA32_MTRR_DEF_TYPE (type, both enables).
constexpr MsrEntry kMsrs[] = {{0x1a0, 0x1}, {0x2ff, 0xcff}};

[[noreturn]] void invalid(const std::string& field, const std::string& value, const std::string& must) {
  throw Error(ExitCode::infrastructure, "machine-invalid", text(field, " is ", value, ", must be ", must));
}

void require(bool good, const std::string& field, uint64_t value, const std::string& must) {
  if (!good) invalid(field, text(value, " (", hex(value), ")"), must);
}

void checkTopology(rpc::CpuTopology::Reader topology, CheckedMachine& machine) {
  const auto number = [](const char* field, uint32_t value) {
    require(value >= 1 && value <= kMaxVcpus, text("topology.", field), value, text("from 1 to ", kMaxVcpus));
    return value;
  };
  machine.llcs = number("llcs", topology.getLlcs());
  machine.coresPerLlc = number("coresPerLlc", topology.getCoresPerLlc());
  machine.threadsPerCore = number("threadsPerCore", topology.getThreadsPerCore());
  const uint64_t vcpus = uint64_t{machine.llcs} * machine.coresPerLlc * machine.threadsPerCore;
  require(vcpus <= kMaxVcpus, "topology's number of vCPUs", vcpus, text("at most ", kMaxVcpus));
  machine.vcpus = static_cast<uint32_t>(vcpus);
}

// `shared`: the guest writes it.
void checkObject(const std::string& name, const MemoryFacts& memory, bool shared) {
  if (!shared) {
    if (memory.writable) invalid(name, "a descriptor open for writing", "opened O_RDONLY");
    return;
  }
  if (!memory.seals) invalid(name, "not a memfd", "a memfd made with MFD_ALLOW_SEALING");
  require((*memory.seals & (F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0, name + "'s seals",
          *memory.seals, "without F_SEAL_SEAL, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE before boot");
  if (!memory.writable) invalid(name, "a descriptor not open for writing", "opened O_RDWR");
}

void checkSize(const std::string& name, uint64_t size, uint64_t unit, uint64_t linear) {
  require(size > 0 && size % unit == 0, name + "'s size", size, text("a positive multiple of ", unit));
  require(size <= kMaxMemory - linear, name + "'s size", size,
          text("at most ", kMaxMemory, " with what is before it"));
}

void placeRam(const std::optional<MemoryFacts>& memory, CheckedMachine& machine) {
  if (!memory) invalid("ram", "absent", "given before boot()");
  checkSize("ram", memory->size, kRamUnit, 0);
  checkObject("ram", *memory, true);
  machine.ram.push_back({0, std::min(memory->size, kLowEnd), 0});
  if (memory->size > kLowEnd) machine.ram.push_back({kHighStart, memory->size - kLowEnd, kLowEnd});
}

// From linear address `linear` on, which it moves behind the object.
std::optional<Region> placeObject(const std::string& name, const std::optional<MemoryFacts>& memory,
                                  bool shared, uint64_t& linear) {
  if (!memory) return std::nullopt;
  checkSize(name, memory->size, kPage, linear);
  checkObject(name, *memory, shared);
  const uint64_t start = std::exchange(linear, linear + memory->size);
  require(start >= kLowEnd || linear <= kLowEnd, name + "'s size", memory->size,
          "such that it ends at or below 2 GiB; make RAM 2 GiB so that it begins at 4 GiB");
  return Region{start < kLowEnd ? start : start + (kHighStart - kLowEnd), memory->size, 0};
}

void placeMemory(const GivenMemory& memory, CheckedMachine& machine) {
  placeRam(memory.ram, machine);
  uint64_t linear = machine.ramBytes();
  machine.base = placeObject("base", memory.base, false, linear);
  machine.mailbox = placeObject("mailbox", memory.mailbox, true, linear);
}

void checkBoot(rpc::VcpuState::Reader vcpu, uint64_t lowRam, BootState& boot) {
  const auto within = [&](const char* field, uint64_t gpa, uint64_t bytes) {
    require(gpa <= lowRam && bytes <= lowRam - gpa, text("vcpus[0].", field), gpa,
            text("such that ", bytes, " bytes lie in RAM below ", hex(lowRam)));
    return gpa;
  };
  boot.rip = within("rip", vcpu.getRip(), 1);
  boot.rsi = within("rsi", vcpu.getRsi(), kPage);
  boot.rsp = within("rsp", vcpu.getRsp(), 0);
  require(boot.rsp >= 8 && boot.rsp % 8 == 0, "vcpus[0].rsp", boot.rsp, "a positive multiple of 8");
  boot.cr3 = within("cr3", vcpu.getCr3(), kPage);
  require(boot.cr3 % kPage == 0, "vcpus[0].cr3", boot.cr3, text("a multiple of ", kPage));
  boot.gdtLimit = vcpu.getGdtLimit();
  require(boot.gdtLimit >= 0x1f, "vcpus[0].gdtLimit", boot.gdtLimit,
          "at least 0x1f (selectors 0x10 and 0x18)");
  boot.gdtGpa = within("gdtGpa", vcpu.getGdtGpa(), uint64_t{boot.gdtLimit} + 1);
}

// Adds the entries of a list named `field` to a table.
void checkCpuid(capnp::List<rpc::CpuidEntry>::Reader entries, const std::string& field,
                std::vector<CpuidEntry>& table) {
  require(entries.size() <= kMaxCpuidEntries - table.size(), field + "'s number", entries.size(),
          text("at most ", kMaxCpuidEntries, " with those of all vCPUs"));
  for (unsigned i = 0; i < entries.size(); ++i) {
    const auto entry = entries[i];
    const uint32_t function = entry.getFunction();
    // Basic, hypervisor and extended leaves.
    require(function <= 0xffff || (function >= 0x40000000 && function <= 0x400000ff) ||
                (function >= 0x80000000 && function <= 0x8000ffff),
            text(field, "[", i, "].function"), function, "a basic, hypervisor or extended leaf");
    require(entry.getIndexed() || entry.getIndex() == 0, text(field, "[", i, "].index"), entry.getIndex(),
            "0 unless it is indexed");
    require(std::none_of(table.begin(), table.end(),
                         [&](const CpuidEntry& other) {
                           return other.function == function && other.index == entry.getIndex();
                         }),
            text(field, "[", i, "].function"), function,
            "different from those of the other entries of the same index");
    table.push_back({function,
                     entry.getIndex(),
                     entry.getIndexed() ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0u,
                     entry.getEax(),
                     entry.getEbx(),
                     entry.getEcx(),
                     entry.getEdx(),
                     {}});
  }
}

void checkVcpus(rpc::PreparedMachine::Reader source, CheckedMachine& machine) {
  const auto vcpus = source.getVcpus();
  require(vcpus.size() == machine.vcpus, "vcpus' number", vcpus.size(),
          text("the topology's product, ", machine.vcpus));
  std::set<uint32_t> seen;
  std::vector<CpuidEntry> common;
  checkCpuid(source.getCpuid(), "cpuid", common);
  for (unsigned i = 0; i < vcpus.size(); ++i) {
    const auto vcpu = vcpus[i];
    require(vcpu.getRunnable() == (i == 0), text("vcpus[", i, "].runnable"), vcpu.getRunnable(),
            "true for vCPU 0 alone");
    require(i > 0 || vcpu.getApicId() == 0, "vcpus[0].apicId", vcpu.getApicId(), "0: it is the boot vCPU's");
    require(seen.insert(vcpu.getApicId()).second, text("vcpus[", i, "].apicId"), vcpu.getApicId(),
            "different from every other vCPU's");
    machine.apicIds.push_back(vcpu.getApicId());
    checkCpuid(vcpu.getCpuid(), text("vcpus[", i, "].cpuid"), machine.cpuid.emplace_back(common));
  }
  checkBoot(vcpus[0], machine.ram[0].size, machine.boot);
}

void checkMsrs(rpc::PreparedMachine::Reader source, CheckedMachine& machine) {
  const auto msrs = source.getMsrs();
  require(msrs.size() <= std::size(kMsrs), "msrs' number", msrs.size(), text("at most ", std::size(kMsrs)));
  for (unsigned i = 0; i < msrs.size(); ++i) {
    const MsrEntry msr{msrs[i].getIndex(), msrs[i].getValue()};
    const auto* known = std::find_if(std::begin(kMsrs), std::end(kMsrs),
                                     [&msr](const MsrEntry& entry) { return entry.index == msr.index; });
    require(known != std::end(kMsrs), text("msrs[", i, "].index"), msr.index,
            "IA32_MISC_ENABLE (0x1a0) or IA32_MTRR_DEF_TYPE (0x2ff)");
    require((msr.value & ~known->value) == 0, text("msrs[", i, "].value"), msr.value,
            "of these bits: " + hex(known->value));
    machine.msrs.push_back(msr);
  }
}

void checkPlacement(rpc::Placement::Reader source, CheckedMachine& machine) {
  const auto cpus = source.getCpus();
  require(cpus.size() == 0 || cpus.size() == machine.vcpus, "placement.cpus' number", cpus.size(),
          text("none or one per vCPU, ", machine.vcpus));
  for (const uint16_t cpu : cpus) {
    require(cpu < kMaxHostCpus, "placement.cpus", cpu, text("below ", kMaxHostCpus));
    machine.placement.cpus.push_back(cpu);
  }
  machine.placement.priority = source.getPriority();
  require(machine.placement.priority <= 98, "placement.priority", source.getPriority(), "at most 98");
  machine.placement.keepIdle = source.getKeepIdle();
  if (!source.getHaltPoll().isNanos()) return;
  machine.placement.haltPollNanos = source.getHaltPoll().getNanos();
  require(*machine.placement.haltPollNanos <= 1'000'000'000, "placement.haltPoll",
          source.getHaltPoll().getNanos(), "at most 1 s");
}

}  // namespace

CheckedMachine checkMachine(rpc::PreparedMachine::Reader source, const GivenMemory& memory) {
  CheckedMachine machine{};
  checkTopology(source.getTopology(), machine);
  placeMemory(memory, machine);
  checkVcpus(source, machine);
  checkMsrs(source, machine);
  checkPlacement(source.getPlacement(), machine);
  return machine;
}

}  // namespace ktstr::vmm
