#include "guest/boot/cpuid.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "protocol/error.h"
#include "protocol/text.h"

// Fields are as in Intel SDM vol. 2A, CPUID, and AMD APM vol. 3 appendix E. How Linux reads them:
// arch/x86/kernel/cpu/topology_common.c, topology_ext.c, topology_amd.c, cacheinfo.c.

namespace ktstr {

namespace {

using Table = std::map<std::pair<uint32_t, uint32_t>, CpuidLeaf>;  // by function and index

// The numbers that several leaves repeat. Spans are of APIC ids: powers of two.
struct Shape {
  explicit Shape(const Topology& topology)
      : threadsPerCore(topology.threadsPerCore),
        threadsPerPackage(topology.cpusPerLlc()),
        coreShift(static_cast<unsigned>(std::bit_width(topology.threadsPerCore - 1))),
        packageShift(coreShift + static_cast<unsigned>(std::bit_width(topology.coresPerLlc - 1))) {}
  uint32_t coreSpan() const { return 1u << coreShift; }
  uint32_t packageSpan() const { return 1u << packageShift; }

  uint32_t threadsPerCore, threadsPerPackage;
  unsigned coreShift, packageShift;  // how far to shift an APIC id for the core's, the package's number
};

[[noreturn]] void invalid(const std::string& reason) {
  throw Error(ExitCode::infrastructure, "cpuid-invalid", "KVM_GET_SUPPORTED_CPUID: " + reason,
              "machines run under KVM on Intel, AMD and Hygon CPUs; use TCG elsewhere");
}

// Puts `value` into bits [first, first + width) of a register.
void setBits(uint32_t& reg, unsigned first, unsigned width, uint32_t value) {
  const uint32_t mask = ((1u << width) - 1) << first;
  reg = (reg & ~mask) | (value << first & mask);
}

void setBit(uint32_t& reg, unsigned bit, bool value) {
  setBits(reg, bit, 1, value ? 1 : 0);
}

// What a field of `width` bits that holds one less than a count says; its greatest value if it is too narrow.
uint32_t lessOne(uint32_t count, unsigned width) {
  return std::min(count - 1, (1u << width) - 1);
}

// Leaves that tell of the host's topology or caches: made anew or left out. 0x8000000A is SVM's.
bool isReplaced(uint32_t function) {
  constexpr uint32_t functions[] = {0x4, 0xb, 0x1f, 0x8000000a, 0x8000001d, 0x8000001e, 0x80000026};
  return std::ranges::find(functions, function) != std::end(functions);
}

Table takeSupported(std::span<const CpuidLeaf> supported) {
  Table table;
  for (const CpuidLeaf& leaf : supported) {
    if (!isReplaced(leaf.function)) table.try_emplace({leaf.function, leaf.index}, leaf);
  }
  for (const uint32_t function : {0u, 1u, 0x80000000u, 0x80000001u, 0x80000008u}) {
    if (!table.contains({function, 0})) {
      invalid(text("leaf ", hex(function), " is not among the ", supported.size(), " offered"));
    }
  }
  return table;
}

bool isAmd(const CpuidLeaf& vendor) {
  std::string name(12, ' ');
  std::memcpy(name.data(), &vendor.ebx, 4);
  std::memcpy(name.data() + 4, &vendor.edx, 4);
  std::memcpy(name.data() + 8, &vendor.ecx, 4);
  if (name == "AuthenticAMD" || name == "HygonGenuine") return true;
  if (name != "GenuineIntel") invalid(text("the CPU's vendor is \"", name, "\""));
  return false;
}

void add(Table& table, const CpuidLeaf& leaf) {
  table.insert_or_assign({leaf.function, leaf.index}, leaf);
}

// Leaves 0xB, 0x1F and 0x80000026: threads of a core in level 1, of the package in all above. EAX says how
// far to shift an APIC id for the number of the level above, EBX how many threads a level has, ECX[15:8] its
// type.
void addLevels(Table& table, uint32_t function, const Shape& shape, uint32_t levels) {
  for (uint32_t index = 0; index < levels; index++) {
    const bool core = index == 0;
    add(table, {.function = function,
                .index = index,
                .indexed = true,
                .eax = core ? shape.coreShift : shape.packageShift,
                .ebx = core ? shape.threadsPerCore : shape.threadsPerPackage,
                .ecx = (index + 1) << 8 | index});
  }
  add(table, {.function = function, .index = levels, .indexed = true, .ecx = levels});
}

// Cache parameters as leaves 4 and 0x8000001D begin: EAX[4:0] type (data, instructions, both), EAX[7:5]
// level (1 to 3).
struct Cache {
  uint32_t type, level, ways, sets;
};

constexpr uint32_t lineBytes = 64;
constexpr Cache defaultCaches[] = {
    {1, 1, 8, 64},      // 32 KiB
    {2, 1, 8, 64},      // 32 KiB
    {3, 2, 16, 1024},   // 1 MiB
    {3, 3, 16, 16384},  // 16 MiB
};

// Size and kind as of the host's, sharing left out.
CpuidLeaf describeCache(const Cache& cache, uint32_t function, std::span<const CpuidLeaf> supported) {
  const uint32_t kind = cache.level << 5 | cache.type;
  for (const CpuidLeaf& host : supported) {
    if (host.function != function || (host.eax & 0xff) != kind) continue;
    return {.eax = host.eax & 0x3ff, .ebx = host.ebx, .ecx = host.ecx, .edx = host.edx};
  }
  constexpr uint32_t selfInitializing = 1u << 8;
  return {
      .eax = selfInitializing | kind, .ebx = (cache.ways - 1) << 22 | (lineBytes - 1), .ecx = cache.sets - 1};
}

// Intel's leaf 4 or AMD's 0x8000001D. EAX[25:14] is a span of APIC ids in both: where AMD asks for the number
// of threads Linux divides APIC ids by it, which fails for others than powers of two. Linux also takes L3 to
// be index 3.
void addCaches(Table& table, uint32_t function, const Shape& shape, std::span<const CpuidLeaf> supported) {
  uint32_t index = 0;
  for (const Cache& cache : defaultCaches) {
    CpuidLeaf leaf = describeCache(cache, function, supported);
    leaf.function = function;
    leaf.index = index++;
    leaf.indexed = true;
    setBits(leaf.eax, 14, 12, lessOne(cache.level == 3 ? shape.packageSpan() : shape.coreSpan(), 12));
    if (function == 0x4) setBits(leaf.eax, 26, 6, lessOne(shape.packageSpan() >> shape.coreShift, 6));
    add(table, leaf);
  }
  add(table, {.function = function, .index = index, .indexed = true});
}

void describeForAll(Table& table, const Shape& shape) {
  CpuidLeaf& basic = table.at({0, 0});
  basic.eax = std::max(basic.eax, 0xbu);
  CpuidLeaf& extended = table.at({0x80000000, 0});
  extended.eax = std::max(extended.eax, 0x80000008u);
  CpuidLeaf& features = table.at({0x1, 0});
  setBits(features.ebx, 16, 8, std::min(shape.packageSpan(), 255u));
  setBits(features.ebx, 24, 8, 0);                        // APIC id of vCPU 0
  setBit(features.ecx, 5, false);                         // VMX
  setBit(features.ecx, 31, true);                         // hypervisor
  setBit(features.edx, 28, shape.threadsPerPackage > 1);  // HTT
  setBit(table.at({0x80000001, 0}).ecx, 2, false);        // SVM
  addLevels(table, 0xb, shape, 2);                        // SMT, core
}

// Leaf 0x1F says no more than 0xB, but Linux prefers it: present where the host's CPU has it.
void describeForIntel(Table& table, const Shape& shape, std::span<const CpuidLeaf> supported) {
  addCaches(table, 0x4, shape, supported);
  if (table.at({0, 0}).eax >= 0x1f) addLevels(table, 0x1f, shape, 2);  // SMT, core
}

// If EDX of leaf 0x80000006 says that there is an L3, Linux takes a node for the LLC on families before 17h,
// and any eight APIC ids on the first CPUs of 17h and on Hygon. Without, it takes the package on all.
void describeForAmd(Table& table, const Shape& shape, std::span<const CpuidLeaf> supported) {
  CpuidLeaf& extended = table.at({0x80000000, 0});
  extended.eax = std::max(extended.eax, 0x8000001eu);
  CpuidLeaf& features = table.at({0x80000001, 0});
  setBit(features.ecx, 1, shape.threadsPerPackage > 1);  // CmpLegacy
  setBit(features.ecx, 22, true);                        // TOPOEXT
  if (const auto l2 = table.find({0x80000006, 0}); l2 != table.end()) l2->second.edx = 0;
  CpuidLeaf& sizes = table.at({0x80000008, 0});
  setBits(sizes.ecx, 0, 8, lessOne(shape.threadsPerPackage, 8));
  setBits(sizes.ecx, 12, 4, shape.packageShift);
  addCaches(table, 0x8000001d, shape, supported);
  add(table, {.function = 0x8000001e, .ebx = lessOne(shape.threadsPerCore, 8) << 8});
  // Says no more than 0xB, but Linux prefers it: present where the host's CPU has it. Its levels are core,
  // complex, die and socket; the last three are one.
  if (extended.eax >= 0x80000026) addLevels(table, 0x80000026, shape, 4);
}

void describeHypervisor(Table& table, const Topology& topology, bool realTimeHints) {
  const auto leaf = table.find({0x40000001, 0});
  if (leaf == table.end()) {
    if (realTimeHints) invalid("leaf 0x40000001 is not offered, so KVM_HINTS_REALTIME cannot be told");
    return;
  }
  setBit(leaf->second.eax, 7, false);
  setBit(leaf->second.edx, 0, realTimeHints);
  if (topology.hasWideApicIds()) setBit(leaf->second.eax, 15, true);
}

// EAX[4:0] of leaf 0xB: by how many bits an APIC id is shifted to get the number of the level above.
unsigned levelShift(std::span<const CpuidLeaf> machine, uint32_t index) {
  const auto leaf = std::ranges::find_if(
      machine, [index](const CpuidLeaf& each) { return each.function == 0xb && each.index == index; });
  return leaf == machine.end() ? 0 : leaf->eax & 0x1f;
}

}  // namespace

std::vector<CpuidLeaf> machineCpuid(const Topology& topology, std::span<const CpuidLeaf> supported,
                                    bool realTimeHints) {
  checkTopology(topology);
  Table table = takeSupported(supported);
  const Shape shape(topology);
  describeForAll(table, shape);
  if (topology.hasWideApicIds()) setBit(table.at({0x1, 0}).ecx, 24, true);
  describeHypervisor(table, topology, realTimeHints);
  if (isAmd(table.at({0, 0}))) {
    describeForAmd(table, shape, supported);
  } else {
    describeForIntel(table, shape, supported);
  }
  if (table.size() > maxCpuidLeaves) {
    invalid(
        text(table.size(), " leaves from the ", supported.size(), " offered; KVM takes ", maxCpuidLeaves));
  }
  std::vector<CpuidLeaf> leaves;
  leaves.reserve(table.size());
  for (const auto& [key, leaf] : table) leaves.push_back(leaf);
  return leaves;
}

bool tellsVcpu(uint32_t function) {
  constexpr uint32_t functions[] = {0x1, 0xb, 0x1f, 0x8000001e, 0x80000026};
  return std::ranges::find(functions, function) != std::end(functions);
}

std::vector<CpuidLeaf> vcpuCpuid(std::span<const CpuidLeaf> machine, uint32_t apicId) {
  const unsigned coreShift = levelShift(machine, 0), packageShift = levelShift(machine, 1);
  const uint32_t inPackage = apicId & ((1u << packageShift) - 1);
  std::vector<CpuidLeaf> leaves;
  for (CpuidLeaf leaf : machine) {
    if (!tellsVcpu(leaf.function)) continue;
    if (leaf.function == 0x1) {
      setBits(leaf.ebx, 24, 8, apicId & 0xff);
    } else if (leaf.function == 0x8000001e) {
      leaf.eax = apicId;
      setBits(leaf.ebx, 0, 8, inPackage >> coreShift & 0xff);
      setBits(leaf.ecx, 0, 8, apicId >> packageShift & 0xff);
    } else {
      leaf.edx = apicId;
    }
    leaves.push_back(leaf);
  }
  return leaves;
}

}  // namespace ktstr
