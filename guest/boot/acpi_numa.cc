#include "guest/boot/acpi.h"
#include "guest/boot/acpi_table.h"

namespace ktstr {

namespace {

// What the memory of a node gives its own CPUs; from afar as much worse as the distance says. Linux makes a
// slower tier of what is worse than DRAM (mm/memory-tiers.c, mt_perf_to_adistance()).
struct Performance {
  uint32_t nanoseconds, megabytesPerSecond;
};
constexpr Performance dram = {100, 51200};
constexpr Performance memoryOnly = {300, 20480};

// The units of the entries, which are 16 bits wide, in ps and MB/s.
constexpr uint64_t latencyUnit = 1000;
constexpr uint64_t bandwidthUnit = 1;

// ACPI 6.5 §5.2.28.4 System Locality Latency and Bandwidth Information Structure. Initiators are nodes with
// CPUs.
template <typename Entry>
void writeLocality(ByteWriter& hmat, const Topology& topology, uint8_t dataType, uint64_t unit, Entry entry) {
  std::vector<uint32_t> initiators;
  for (uint32_t node = 0; node < topology.nodes; node++) {
    if (!topology.memoryOnly(node)) initiators.push_back(node);
  }
  const auto rows = static_cast<uint32_t>(initiators.size());
  hmat.u16(1).u16(0).u32(32 + 4 * rows + 4 * topology.nodes + 2 * rows * topology.nodes);
  hmat.u8(0).u8(dataType).u8(0).u8(0).u32(rows).u32(topology.nodes).u32(0).u64(unit);
  for (const uint32_t initiator : initiators) hmat.u32(initiator);
  for (uint32_t node = 0; node < topology.nodes; node++) hmat.u32(node);
  for (const uint32_t initiator : initiators) {
    for (uint32_t target = 0; target < topology.nodes; target++) {
      const Performance& local = topology.memoryOnly(target) ? memoryOnly : dram;
      hmat.u16(entry(local, topology.distance(initiator, target)));
    }
  }
}

}  // namespace

// ACPI 6.5 §5.2.16 System Resource Affinity Table.
std::vector<std::byte> buildSrat(const Topology& topology, std::span<const NodeRange> memory) {
  ByteWriter srat = startTable("SRAT", 3);
  srat.u32(1).u64(0);
  for (uint32_t cpu = 0; cpu < topology.vcpus(); cpu++) {  // x2APIC affinity takes ids of any size
    srat.u8(2).u8(24).u16(0).u32(topology.nodeOf(cpu)).u32(topology.apicId(cpu)).u32(1).u32(0).u32(0);
  }
  for (const NodeRange& piece : memory) {
    srat.u8(1).u8(40).u32(piece.node).u16(0).u64(piece.range.gpa).u64(piece.range.size).u32(0).u32(1).u64(0);
  }
  return finishTable(std::move(srat));
}

// ACPI 6.5 §5.2.17 System Locality Information Table.
std::vector<std::byte> buildSlit(const Topology& topology) {
  ByteWriter slit = startTable("SLIT", 1);
  slit.u64(topology.nodes);
  for (uint32_t from = 0; from < topology.nodes; from++) {
    for (uint32_t to = 0; to < topology.nodes; to++) slit.u8(topology.distance(from, to));
  }
  return finishTable(std::move(slit));
}

// ACPI 6.5 §5.2.28 Heterogeneous Memory Attribute Table, revision 2 (latency in ps).
std::vector<std::byte> buildHmat(const Topology& topology) {
  ByteWriter hmat = startTable("HMAT", 2);
  hmat.u32(0);
  for (uint32_t node = 0; node < topology.nodes; node++) {  // §5.2.28.3: which CPUs its memory is attached to
    hmat.u16(0).u16(0).u32(40).u16(1).u16(0).u32(topology.initiatorOf(node)).u32(node).u32(0).u64(0).u64(0);
  }
  writeLocality(hmat, topology, 0, latencyUnit, [](const Performance& local, uint32_t distance) {
    return local.nanoseconds * distance / localDistance;
  });
  writeLocality(hmat, topology, 3, bandwidthUnit, [](const Performance& local, uint32_t distance) {
    return local.megabytesPerSecond * localDistance / distance;
  });
  return finishTable(std::move(hmat));
}

}  // namespace ktstr
