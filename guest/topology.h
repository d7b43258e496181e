// The shape of a machine: NUMA nodes, last-level caches, cores, threads, and how vCPUs and APIC ids are
// numbered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr {

inline constexpr uint32_t maxVcpus = 512;
inline constexpr uint32_t maxNodes = 64;
inline constexpr uint64_t maxMemoryMib = 1024 * 1024;
inline constexpr uint32_t localDistance = 10;   // ACPI 6.5 §5.2.17: what a node has to itself
inline constexpr uint32_t remoteDistance = 20;  // between two nodes, if nothing else is declared

// One node that is declared by itself.
struct NodeShape {
  uint32_t llcs = 0;       // 0: a memory-only node, a slower tier (CXL)
  uint32_t memoryMib = 0;  // even: memory is placed in units of 2 MiB
  bool operator==(const NodeShape&) const = default;
};

// The same both ways.
struct NodeDistance {
  uint32_t from = 0, to = 0;  // from < to
  uint32_t distance = remoteDistance;
  bool operator==(const NodeDistance&) const = default;
};

// vCPU i is thread i % threadsPerCore of core (i / threadsPerCore) % coresPerLlc of LLC i / (threads *
// cores). LLCs are dealt to nodes in runs, equal ones unless the nodes are declared one by one. `llcs` counts
// the whole machine.
struct Topology {
  uint32_t nodes = 1;
  uint32_t llcs = 1;
  uint32_t coresPerLlc = 1;
  uint32_t threadsPerCore = 1;
  std::vector<NodeShape> shapes = {};        // of every node, or empty: LLCs and memory are shared evenly
  std::vector<NodeDistance> distances = {};  // of pairs that differ from remoteDistance

  uint32_t vcpus() const { return llcs * coresPerLlc * threadsPerCore; }
  uint32_t cpusPerLlc() const { return coresPerLlc * threadsPerCore; }

  uint32_t llcOf(uint32_t cpu) const { return cpu / cpusPerLlc(); }
  uint32_t nodeOfLlc(uint32_t llc) const;
  uint32_t nodeOf(uint32_t cpu) const { return nodeOfLlc(llcOf(cpu)); }
  uint32_t llcsOfNode(uint32_t node) const { return shapes.empty() ? llcs / nodes : shapes[node].llcs; }
  bool memoryOnly(uint32_t node) const { return llcsOfNode(node) == 0; }
  std::vector<uint32_t> cpusOfLlc(uint32_t llc) const;
  std::vector<uint32_t> cpusOfNode(uint32_t node) const;

  uint32_t distance(uint32_t from, uint32_t to) const;
  // The nearest node with CPUs, the first of those equally near: itself if it has any.
  uint32_t initiatorOf(uint32_t node) const;
  // Of all nodes together; nothing where they share what the machine has.
  std::optional<uint32_t> memoryMib() const;

  // llc << (coreBits + threadBits) | core << threadBits | thread, where bits = ceil(log2(count)): one package
  // per LLC. QEMU numbers -smp sockets=llcs,cores=..,threads=.. alike (include/hw/i386/topology.h), hardware
  // too (Intel SDM vol. 3 ch. 10.9.1 "Hierarchical Mapping of Shared Resources"). Ids have gaps where a count
  // is no power of two.
  uint32_t apicId(uint32_t cpu) const;
  // Beyond 254, which is as far as 8-bit destinations of interrupts reach: 255 are all CPUs.
  bool hasWideApicIds() const { return apicId(vcpus() - 1) > 254; }

  std::string toString() const;  // what parseTopology() takes

  bool operator==(const Topology&) const = default;
};

// Two forms, and distances that may follow either:
//   NnLlCcTt           2n4l2c1t                     NUMA nodes, LLCs in all, cores per LLC, threads per core
//   LlMM,...,CcTt      2l512M,1l256M,0l256M,2c1t    node by node its LLCs and MiB, then as above
//   ...,A-B:D          2n4l2c1t,0-1:32              nodes A and B (A < B) are D apart; 20 otherwise
// toString() gives the same text again. Throws as checkTopology(), also for anything that has another form.
Topology parseTopology(std::string_view text);

// Throws Error "topology-invalid" (ExitCode::usage) with the reason and examples: a zero, LLCs that do not
// divide evenly over nodes, more than maxVcpus vCPUs, more than maxNodes nodes; nodes without memory or with
// an odd number of MiB, no node with CPUs, one after a node without (Linux numbers nodes with CPUs first:
// drivers/acpi/numa/srat.c, acpi_numa_init()), more than maxMemoryMib; distances of nodes that do not exist,
// of a node to itself, given twice, or not from 11 to 254 (ACPI: 255 is unreachable).
void checkTopology(const Topology& topology);

// CPU lists as the kernel writes them: {0,1,2,3,8} <-> "0-3,8". The list need not be sorted; the text is.
std::string cpuList(std::vector<uint32_t> cpus);
// Also takes the "\n" that sysfs files end with; empty text is an empty list. Throws Error "cpu-list-invalid"
// (ExitCode::usage) for other forms, descending ranges and numbers from `limit` on.
std::vector<uint32_t> parseCpuList(std::string_view text, uint32_t limit = 8192);

}  // namespace ktstr
