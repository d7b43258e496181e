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

using rpc::RegionKind;

// What a machine may need to have set before its first instruction: IA32_MISC_ENABLE, IA32_MTRR_DEF_TYPE.
constexpr uint32_t kMsrs[] = {0x1a0, 0x2ff};

[[noreturn]] void invalid(const std::string& field, const std::string& value, const std::string& must) {
  throw Error(ExitCode::infrastructure, "machine-invalid", text(field, " is ", value, ", must be ", must));
}

void require(bool good, const std::string& field, uint64_t value, const std::string& must) {
  if (!good) invalid(field, text(value, " (", hex(value), ")"), must);
}

uint64_t toGpa(uint64_t linear) {
  return linear < kLowEnd ? linear : linear + (kHighStart - kLowEnd);
}

void checkName(const std::string& name) {
  require(name.size() <= kMaxName, "name's length", name.size(), text("at most ", kMaxName));
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (!printable) invalid("name", "not printable ASCII", "printable ASCII");
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

void checkMemory(const std::string& field, RegionKind kind, const MemoryFacts& memory) {
  if (kind == RegionKind::BASE) {
    if (memory.writable) invalid(field, "a descriptor open for writing", "opened O_RDONLY");
    return;
  }
  if (!memory.seals) invalid(field, "not a memfd", "a memfd made with MFD_ALLOW_SEALING");
  require((*memory.seals & F_SEAL_SEAL) == 0, field + "'s seals", *memory.seals, "without F_SEAL_SEAL");
  require((*memory.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0, field + "'s seals", *memory.seals,
          "without F_SEAL_WRITE and F_SEAL_FUTURE_WRITE before boot");
  if (!memory.writable) invalid(field, "a descriptor not open for writing", "opened O_RDWR");
}

// The order of kinds, and one memory object for all RAM, another for each other region.
void checkOrder(const std::string& field, const CheckedRegion& region,
                const std::vector<CheckedRegion>& before) {
  if (before.empty()) {
    if (region.kind != RegionKind::RAM)
      invalid(field + ".kind", kj::str(region.kind).cStr(), "ram (RAM comes first)");
    return;
  }
  const CheckedRegion& last = before.back();
  const bool moreRam = region.kind == RegionKind::RAM;
  const bool ordered = moreRam ? last.kind == RegionKind::RAM && before.size() < 2 : region.kind > last.kind;
  if (!ordered) {
    invalid(field + ".kind", text(kj::str(region.kind).cStr(), " after ", kj::str(last.kind).cStr()),
            "in the order ram, ram above 4 GiB, base, mailbox");
  }
  for (const CheckedRegion& other : before) {
    const bool same = region.memory == other.memory;
    if (same != (moreRam && other.kind == RegionKind::RAM)) {
      invalid(field + ".memory", same ? "shared with another region" : "another than that of regions[0]",
              moreRam ? "the memory object of regions[0]" : "a memory object of its own");
    }
  }
}

void checkPlace(const std::string& field, const CheckedRegion& region, uint64_t linear, bool firstHalfOfRam) {
  const bool ram = region.kind == RegionKind::RAM;
  const uint64_t unit = ram ? kRamUnit : kPage;
  require(region.size > 0 && region.size % unit == 0, field + ".size", region.size,
          text("a positive multiple of ", unit));
  require(region.size <= kMaxMemory && linear + region.size <= kMaxMemory, field + ".size", region.size,
          text("at most ", kMaxMemory, " with the regions before it"));
  require(region.gpa == toGpa(linear), field + ".gpa", region.gpa,
          text(hex(toGpa(linear)), " (regions follow each other, from 2 GiB on above 4 GiB)"));
  const uint64_t offset = ram ? linear : 0;
  require(region.offset == offset, field + ".offset", region.offset, hex(offset));
  if (linear < kLowEnd) {
    require(linear + region.size <= kLowEnd, field + ".size", region.size,
            firstHalfOfRam
                ? "at most 2 GiB; the rest is a second region at 4 GiB"
                : "such that it ends at or below 2 GiB; make RAM 2 GiB so that it begins at 4 GiB");
  }
}

void checkRegions(rpc::PreparedMachine::Reader source, std::span<const size_t> memoryOfRegion,
                  std::span<const MemoryFacts> memories, CheckedMachine& machine) {
  const auto regions = source.getRegions();
  require(regions.size() >= 1 && regions.size() <= kMaxRegions, "regions' number", regions.size(),
          text("from 1 to ", kMaxRegions));
  require(memoryOfRegion.size() == regions.size(), "regions' memories", memoryOfRegion.size(),
          "one per region");
  uint64_t linear = 0;
  for (unsigned i = 0; i < regions.size(); ++i) {
    const std::string field = text("regions[", i, "]");
    const auto from = regions[i];
    const CheckedRegion region{from.getKind(), from.getGpa(), from.getSize(), from.getOffset(),
                               memoryOfRegion[i]};
    require(region.kind <= RegionKind::MAILBOX, field + ".kind", static_cast<uint16_t>(region.kind),
            "at most 2");
    require(region.memory < memories.size(), field + ".memory", region.memory, "an imported memory object");
    checkOrder(field, region, machine.regions);
    checkPlace(field, region, linear, i == 0);
    const MemoryFacts& memory = memories[region.memory];
    require(region.offset + region.size <= memory.size, field + ".size", region.size,
            text("within its memory object of ", memory.size, " bytes from offset ", region.offset));
    checkMemory(field + ".memory", region.kind, memory);
    machine.regions.push_back(region);
    linear += region.size;
  }
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

void checkVcpus(rpc::PreparedMachine::Reader source, CheckedMachine& machine) {
  const auto vcpus = source.getVcpus();
  require(vcpus.size() == machine.vcpus, "vcpus' number", vcpus.size(),
          text("the topology's product, ", machine.vcpus));
  std::set<uint32_t> seen;
  for (unsigned i = 0; i < vcpus.size(); ++i) {
    const auto vcpu = vcpus[i];
    require(vcpu.getRunnable() == (i == 0), text("vcpus[", i, "].runnable"), vcpu.getRunnable(),
            "true for vCPU 0 alone");
    require(seen.insert(vcpu.getApicId()).second, text("vcpus[", i, "].apicId"), vcpu.getApicId(),
            "different from every other vCPU's");
    machine.apicIds.push_back(vcpu.getApicId());
  }
  checkBoot(vcpus[0], machine.regions[0].size, machine.boot);
}

void checkCpuid(rpc::PreparedMachine::Reader source, CheckedMachine& machine) {
  const auto entries = source.getCpuid();
  require(entries.size() <= kMaxCpuidEntries, "cpuid's number", entries.size(),
          text("at most ", kMaxCpuidEntries));
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (unsigned i = 0; i < entries.size(); ++i) {
    const auto entry = entries[i];
    const uint32_t function = entry.getFunction();
    // Basic, hypervisor and extended leaves.
    require(function <= 0xffff || (function >= 0x40000000 && function <= 0x400000ff) ||
                (function >= 0x80000000 && function <= 0x8000ffff),
            text("cpuid[", i, "].function"), function, "a basic, hypervisor or extended leaf");
    require(entry.getIndexed() || entry.getIndex() == 0, text("cpuid[", i, "].index"), entry.getIndex(),
            "0 unless it is indexed");
    require(seen.emplace(function, entry.getIndex()).second, text("cpuid[", i, "].function"), function,
            "different from those of the other entries of the same index");
    machine.cpuid.push_back({function, entry.getIndex(), entry.getIndexed(), entry.getEax(), entry.getEbx(),
                             entry.getEcx(), entry.getEdx()});
  }
}

void checkMsrs(rpc::PreparedMachine::Reader source, CheckedMachine& machine) {
  const auto msrs = source.getMsrs();
  require(msrs.size() <= kMaxMsrs, "msrs' number", msrs.size(), text("at most ", kMaxMsrs));
  for (unsigned i = 0; i < msrs.size(); ++i) {
    const uint32_t index = msrs[i].getIndex();
    const bool known = std::find(std::begin(kMsrs), std::end(kMsrs), index) != std::end(kMsrs);
    require(known, text("msrs[", i, "].index"), index,
            "IA32_MISC_ENABLE (0x1a0) or IA32_MTRR_DEF_TYPE (0x2ff)");
    machine.msrs.push_back({index, msrs[i].getValue()});
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

uint64_t CheckedMachine::ramBytes() const {
  uint64_t bytes = 0;
  for (const CheckedRegion& region : regions) bytes += region.kind == RegionKind::RAM ? region.size : 0;
  return bytes;
}

const CheckedRegion* CheckedMachine::find(RegionKind kind) const {
  const auto found =
      std::find_if(regions.begin(), regions.end(), [kind](const CheckedRegion& r) { return r.kind == kind; });
  return found == regions.end() ? nullptr : &*found;
}

CheckedMachine checkMachine(rpc::PreparedMachine::Reader source, std::span<const size_t> memoryOfRegion,
                            std::span<const MemoryFacts> memories) {
  CheckedMachine machine{};
  machine.name = source.getName().cStr();
  checkName(machine.name);
  checkTopology(source.getTopology(), machine);
  checkRegions(source, memoryOfRegion, memories, machine);
  checkVcpus(source, machine);
  checkCpuid(source, machine);
  checkMsrs(source, machine);
  checkPlacement(source.getPlacement(), machine);
  return machine;
}

}  // namespace ktstr::vmm
