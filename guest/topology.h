// The shape of a machine: NUMA nodes, last-level caches, cores, threads, and how vCPUs and APIC ids are
// numbered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ktstr {

inline constexpr uint32_t maxVcpus = 512;

// vCPU i is thread i % threadsPerCore of core (i / threadsPerCore) % coresPerLlc of LLC i / (threads *
// cores). LLCs are dealt to nodes in equal runs: node of LLC l is l / (llcs / nodes). `llcs` counts the whole
// machine.
struct Topology {
  uint32_t nodes = 1;
  uint32_t llcs = 1;
  uint32_t coresPerLlc = 1;
  uint32_t threadsPerCore = 1;

  uint32_t vcpus() const { return llcs * coresPerLlc * threadsPerCore; }
  uint32_t cpusPerLlc() const { return coresPerLlc * threadsPerCore; }
  uint32_t llcsPerNode() const { return llcs / nodes; }

  uint32_t llcOf(uint32_t cpu) const { return cpu / cpusPerLlc(); }
  uint32_t nodeOfLlc(uint32_t llc) const { return llc / llcsPerNode(); }
  uint32_t nodeOf(uint32_t cpu) const { return nodeOfLlc(llcOf(cpu)); }
  std::vector<uint32_t> cpusOfLlc(uint32_t llc) const;
  std::vector<uint32_t> cpusOfNode(uint32_t node) const;

  // llc << (coreBits + threadBits) | core << threadBits | thread, where bits = ceil(log2(count)): one package
  // per LLC. QEMU numbers -smp sockets=llcs,cores=..,threads=.. alike (include/hw/i386/topology.h), hardware
  // too (Intel SDM vol. 3 ch. 10.9.1 "Hierarchical Mapping of Shared Resources"). Ids have gaps where a count
  // is no power of two.
  uint32_t apicId(uint32_t cpu) const;

  std::string toString() const;  // "1n2l2c2t"

  bool operator==(const Topology&) const = default;
};

// "NnLlCcTt", for example "2n4l2c1t". Throws as checkTopology(), also for anything that has another form.
Topology parseTopology(std::string_view text);

// Throws Error "topology-invalid" (ExitCode::usage) with the reason and an example: a zero, LLCs that do not
// divide evenly over nodes, more than maxVcpus vCPUs, more than maxNodes nodes.
void checkTopology(const Topology& topology);
inline constexpr uint32_t maxNodes = 64;

// CPU lists as the kernel writes them: {0,1,2,3,8} <-> "0-3,8". The list need not be sorted; the text is.
std::string cpuList(std::vector<uint32_t> cpus);
// Also takes the "\n" that sysfs files end with; empty text is an empty list. Throws Error "cpu-list-invalid"
// (ExitCode::usage) for other forms, descending ranges and numbers from `limit` on.
std::vector<uint32_t> parseCpuList(std::string_view text, uint32_t limit = 8192);

}  // namespace ktstr
