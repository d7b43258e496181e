#include "guest/boot/acpi.h"
#include "guest/boot/acpi_table.h"

namespace ktstr {

namespace {

constexpr uint32_t localDistance = 10;
constexpr uint32_t remoteDistance = 20;

uint32_t distance(uint32_t a, uint32_t b) {
  return a == b ? localDistance : remoteDistance;
}

// HMAT figures for DRAM: 100 ns and 50 GiB/s, remote ones scaled by distance.
constexpr uint64_t latencyUnit = 100000;   // ps
constexpr uint64_t bandwidthUnit = 10240;  // MB/s
constexpr uint32_t localLatency = 1;
constexpr uint32_t localBandwidth = 5;

// ACPI 6.5 §5.2.28.4 System Locality Latency and Bandwidth Information Structure.
template <typename Entry>
void writeLocality(ByteWriter& hmat, uint32_t nodes, uint8_t dataType, uint64_t unit, Entry entry) {
  hmat.u16(1).u16(0).u32(32 + 8 * nodes + 2 * nodes * nodes);
  hmat.u8(0).u8(dataType).u8(0).u8(0).u32(nodes).u32(nodes).u32(0).u64(unit);
  for (int list = 0; list < 2; list++) {
    for (uint32_t node = 0; node < nodes; node++) hmat.u32(node);
  }
  for (uint32_t initiator = 0; initiator < nodes; initiator++) {
    for (uint32_t target = 0; target < nodes; target++) hmat.u16(entry(distance(initiator, target)));
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
std::vector<std::byte> buildSlit(uint32_t nodes) {
  ByteWriter slit = startTable("SLIT", 1);
  slit.u64(nodes);
  for (uint32_t from = 0; from < nodes; from++) {
    for (uint32_t to = 0; to < nodes; to++) slit.u8(distance(from, to));
  }
  return finishTable(std::move(slit));
}

// ACPI 6.5 §5.2.28 Heterogeneous Memory Attribute Table, revision 2 (latency in ps).
std::vector<std::byte> buildHmat(uint32_t nodes) {
  ByteWriter hmat = startTable("HMAT", 2);
  hmat.u32(0);
  for (uint32_t node = 0; node < nodes; node++) {  // §5.2.28.3: memory of the node, attached to its own CPUs
    hmat.u16(0).u16(0).u32(40).u16(1).u16(0).u32(node).u32(node).u32(0).u64(0).u64(0);
  }
  writeLocality(hmat, nodes, 0, latencyUnit, [](uint32_t d) { return localLatency * d / localDistance; });
  writeLocality(hmat, nodes, 3, bandwidthUnit, [](uint32_t d) { return localBandwidth * localDistance / d; });
  return finishTable(std::move(hmat));
}

}  // namespace ktstr
