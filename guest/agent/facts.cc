#include <cpuid.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <sstream>
#include <vector>

#include "guest/agent/system.h"
#include "guest/topology.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

std::string firstLine(const std::string& path) {
  const std::string content = readFileIfThere(path).value_or("");
  return content.substr(0, content.find('\n'));
}

// Documentation/virt/kvm/x86/cpuid.rst.
bool hasRealTimeHints() {
  constexpr unsigned signatureLeaf = 0x40000000, featureLeaf = 0x40000001;
  unsigned eax = 0, features = 0;
  std::array<unsigned, 3> signature{};
  __cpuid(signatureLeaf, eax, signature[0], signature[1], signature[2]);
  if (memcmp(signature.data(), "KVMKVMKVM\0\0\0", sizeof signature) != 0 || eax < featureLeaf) return false;
  unsigned hints = 0;
  __cpuid(featureLeaf, features, signature[0], signature[1], hints);
  return (hints & 1) != 0;
}

uint64_t memTotalKib() {
  unsigned long long kib = 0;
  return sscanf(readFileIfThere("/proc/meminfo").value_or("").c_str(), "MemTotal: %llu kB", &kib) == 1 ? kib
                                                                                                       : 0;
}

std::string ofCpu(uint32_t cpu, const char* file) {
  return firstLine(text("/sys/devices/system/cpu/cpu", cpu, "/", file));
}

std::string ofNode(size_t node, const char* file) {
  return text("/sys/devices/system/node/node", node, "/", file);
}

// Distinct lists in order of the first CPU they are seen on.
std::vector<std::string> distinctLists(const std::vector<uint32_t>& cpus, const char* file) {
  std::vector<std::string> lists;
  for (const uint32_t cpu : cpus) {
    std::string list = ofCpu(cpu, file);
    if (!list.empty() && std::find(lists.begin(), lists.end(), list) == lists.end()) lists.push_back(list);
  }
  return lists;
}

std::vector<std::string> nodeLists() {
  std::vector<std::string> lists;
  while (const auto list = readFileIfThere(ofNode(lists.size(), "cpulist"))) {
    lists.push_back(list->substr(0, list->find('\n')));
  }
  return lists;
}

std::vector<std::string> tierLists() {
  std::map<int, std::string> tiers;  // Linux numbers them from the fastest
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/devices/virtual/memory_tiering", none)) {
    int number = 0;
    if (sscanf(entry.path().filename().c_str(), "memory_tier%d", &number) != 1) continue;
    tiers[number] = firstLine(entry.path() / "nodelist");
  }
  std::vector<std::string> lists;
  for (const auto& [number, list] : tiers) lists.push_back(list);
  return lists;
}

std::vector<uint32_t> numbers(const std::string& line) {
  std::istringstream words(line);
  return {std::istream_iterator<uint32_t>(words), {}};
}

void copy(const std::vector<std::string>& from, capnp::List<capnp::Text>::Builder to) {
  for (unsigned i = 0; i < to.size(); i++) to.set(i, from[i]);
}

void copy(const std::vector<uint32_t>& from, capnp::List<uint32_t>::Builder to) {
  for (unsigned i = 0; i < to.size(); i++) to.set(i, from[i]);
}

void fillNode(unsigned node, size_t nodes, rpc::NodeFacts::Builder facts) {
  unsigned long long kib = 0;
  sscanf(firstLine(ofNode(node, "meminfo")).c_str(), "Node %*u MemTotal: %llu kB", &kib);
  facts.setMemTotalKib(kib);
  const std::vector<uint32_t> distances = numbers(firstLine(ofNode(node, "distance")));
  copy(distances, facts.initDistances(static_cast<unsigned>(distances.size())));
  std::vector<uint32_t> initiators;
  for (uint32_t other = 0; other < nodes; other++) {
    const std::string link = text(ofNode(node, "access0/initiators/node"), other);
    if (access(link.c_str(), F_OK) == 0) initiators.push_back(other);
  }
  copy(initiators, facts.initInitiators(static_cast<unsigned>(initiators.size())));
}

void fillCpus(const std::vector<uint32_t>& online, rpc::GuestFacts::Builder facts) {
  const std::vector<std::string> llcs = distinctLists(online, "cache/index3/shared_cpu_list");
  const std::vector<std::string> cores = distinctLists(online, "topology/thread_siblings_list");
  copy(llcs, facts.initLlcCpulists(static_cast<unsigned>(llcs.size())));
  copy(cores, facts.initCoreCpulists(static_cast<unsigned>(cores.size())));
  std::vector<uint32_t> packageIds, coreIds;
  for (const uint32_t cpu : online) {
    for (const uint32_t id : numbers(ofCpu(cpu, "topology/physical_package_id"))) packageIds.push_back(id);
    for (const uint32_t id : numbers(ofCpu(cpu, "topology/core_id"))) coreIds.push_back(id);
  }
  copy(packageIds, facts.initPackageIds(static_cast<unsigned>(packageIds.size())));
  copy(coreIds, facts.initCoreIds(static_cast<unsigned>(coreIds.size())));
}

void fillNodes(rpc::GuestFacts::Builder facts) {
  const std::vector<std::string> lists = nodeLists(), tiers = tierLists();
  copy(lists, facts.initNodeCpulists(static_cast<unsigned>(lists.size())));
  auto nodes = facts.initNodes(static_cast<unsigned>(lists.size()));
  for (unsigned node = 0; node < nodes.size(); node++) fillNode(node, nodes.size(), nodes[node]);
  copy(tiers, facts.initMemoryTiers(static_cast<unsigned>(tiers.size())));
}

}  // namespace

void fillFacts(rpc::GuestFacts::Builder facts, uint32_t initUptimeMs) {
  utsname name{};
  uname(&name);
  facts.setRelease(name.release);
  const std::vector<uint32_t> online = parseCpuList(firstLine("/sys/devices/system/cpu/online"));
  facts.setCpusOnline(static_cast<uint32_t>(online.size()));
  facts.setControllers(firstLine("/sys/fs/cgroup/cgroup.controllers"));
  facts.setSchedExt(access("/sys/kernel/sched_ext", F_OK) == 0);
  facts.setMemTotalKib(memTotalKib());
  facts.setUptimeMs(initUptimeMs);
  facts.setRealTimeHints(hasRealTimeHints());
  fillCpus(online, facts);
  fillNodes(facts);
}

}  // namespace ktstr::agent
