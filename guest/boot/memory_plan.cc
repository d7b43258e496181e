#include "guest/boot/memory_plan.h"

#include <algorithm>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// The guest-physical pieces of [begin, end) of linear memory: two if it spans the hole.
std::vector<Range> pieces(uint64_t begin, uint64_t end) {
  std::vector<Range> result;
  if (begin < std::min(end, lowRamEnd)) result.push_back({begin, std::min(end, lowRamEnd) - begin});
  const uint64_t high = std::max(begin, lowRamEnd);
  if (high < end) result.push_back({gpaOf(high), end - high});
  return result;
}

void checkSizes(uint64_t memoryBytes, uint64_t baseBytes, uint64_t baseLength, uint64_t mailboxBytes) {
  const auto invalid = [](const std::string& reason) {
    throw Error(ExitCode::infrastructure, "boot-request-invalid", reason);
  };
  if (memoryBytes < leastMemory) {
    throw Error(
        ExitCode::usage, "memory-too-small",
        text(memoryBytes / mib, " MiB of guest memory; at least ", leastMemory / mib, " MiB are needed"),
        text("ask for ", leastMemory / mib, " MiB or more"));
  }
  if (memoryBytes > 1024 * gib) invalid(text(memoryBytes, " bytes of guest memory are more than 1 TiB"));
  if (baseBytes == 0 || baseBytes % regionUnit != 0 || baseBytes > gib) {
    invalid(text("base of ", baseBytes, " bytes is not a multiple of ", regionUnit, " up to 1 GiB"));
  }
  if (baseLength == 0 || baseLength > baseBytes) {
    invalid(text("base archive of ", baseLength, " bytes in a file of ", baseBytes));
  }
  if (mailboxBytes < regionUnit || mailboxBytes % regionUnit != 0 || mailboxBytes > gib) {
    invalid(text("mailbox of ", mailboxBytes, " bytes is not a multiple of ", regionUnit, " up to 1 GiB"));
  }
}

}  // namespace

MemoryPlan planMemory(uint64_t memoryBytes, uint64_t baseBytes, uint64_t baseLength, uint64_t mailboxBytes) {
  checkSizes(memoryBytes, baseBytes, baseLength, mailboxBytes);
  MemoryPlan plan{};
  plan.ramBytes = roundUp(memoryBytes, memoryUnit);
  if (plan.ramBytes + baseBytes + mailboxBytes > lowRamEnd) {
    plan.ramBytes = std::max(plan.ramBytes, lowRamEnd + memoryUnit);
  }
  for (const Range& piece : pieces(0, plan.ramBytes)) {
    plan.regions.push_back(
        {rpc::MemoryKind::RAM, piece.gpa, piece.size, plan.regions.empty() ? 0 : lowRamEnd});
  }
  const uint64_t baseGpa = gpaOf(plan.ramBytes - 1) + 1;
  plan.regions.push_back({rpc::MemoryKind::BASE, baseGpa, baseBytes, 0});
  plan.mailbox = {baseGpa + baseBytes, mailboxBytes};
  plan.regions.push_back({rpc::MemoryKind::MAILBOX, plan.mailbox.gpa, plan.mailbox.size, 0});
  plan.initrd = {baseGpa - suffixBytes, suffixBytes + baseLength};
  return plan;
}

std::vector<NodeRange> splitOverNodes(const MemoryPlan& plan, const Topology& topology) {
  const uint64_t part = plan.ramBytes / memoryUnit / topology.nodes * memoryUnit;
  const Region& last = plan.regions.back();
  const uint64_t allEnd = plan.ramBytes + (last.gpa + last.size - (plan.initrd.gpa + suffixBytes));
  std::vector<NodeRange> ranges;
  uint64_t begin = 0;
  for (uint32_t node = 0; node < topology.nodes; node++) {
    const uint64_t share = topology.shapes.empty() ? part : topology.shapes[node].memoryMib * mib;
    const uint64_t end = node + 1 == topology.nodes ? allEnd : begin + share;
    for (const Range& piece : pieces(begin, end)) ranges.push_back({node, piece});
    begin = end;
  }
  return ranges;
}

std::vector<E820Entry> e820Map(const MemoryPlan& plan, uint64_t acpiTablesSize) {
  const uint64_t tablesEnd = roundUp(acpiGpa + acpiTablesSize, 4096);
  std::vector<E820Entry> map{{{0, acpiGpa}, E820Type::ram},
                             {{acpiGpa, 4096}, E820Type::nvs},
                             {{acpiGpa + 4096, tablesEnd - acpiGpa - 4096}, E820Type::acpi}};
  if (tablesEnd < acpiEnd) map.push_back({{tablesEnd, acpiEnd - tablesEnd}, E820Type::ram});
  const auto add = [&map](Range range, E820Type type) {
    Range& last = map.back().range;
    if (range.size == 0) return;
    if (map.back().type == type && last.gpa + last.size == range.gpa) {
      last.size += range.size;
    } else {
      map.push_back({range, type});
    }
  };
  for (const Region& region : plan.regions) {
    const uint64_t end = region.gpa + region.size;
    uint64_t usableEnd = end;
    // The kernel keeps the initrd as it is, but takes whatever else of RAM it finds: not what is behind the
    // archive in a region that cannot be written.
    if (region.kind == rpc::MemoryKind::BASE) usableEnd = roundUp(plan.initrd.gpa + plan.initrd.size, 4096);
    if (region.kind == rpc::MemoryKind::MAILBOX) usableEnd = region.gpa;
    const uint64_t begin = region.gpa == 0 ? kernelFloor : region.gpa;
    add({begin, usableEnd - begin}, E820Type::ram);
    add({usableEnd, end - usableEnd}, E820Type::reserved);
  }
  return map;
}

}  // namespace ktstr
