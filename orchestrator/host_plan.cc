#include "orchestrator/host_plan.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Cpus = std::vector<HostCpu>;

// What lists of CPUs in sysfs look like: "0-3,8\n".
std::vector<uint32_t> listed(const std::string& path) {
  std::string text = readFileIfThere(path).value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? std::vector<uint32_t>{} : parseCpuList(text);
}

uint32_t lowestOf(const std::string& path, uint32_t otherwise) {
  const auto cpus = listed(path);
  return cpus.empty() ? otherwise : *std::min_element(cpus.begin(), cpus.end());
}

std::string lastLevelCache(const std::string& cpu) {
  std::string best;
  int highest = 0;
  for (int i = 0; i < 16; ++i) {
    const std::string cache = text(cpu, "/cache/index", i);
    const int level = atoi(readFileIfThere(cache + "/level").value_or("0").c_str());
    if (level > highest) {
      highest = level;
      best = cache;
    }
  }
  return best + "/shared_cpu_list";
}

Error tooSmall(const std::string& message) {
  return {ExitCode::usage, "host-too-small", message,
          "ask for a smaller topology, or run without performance mode"};
}

// The CPUs for one LLC of the machine, out of one LLC of the host; nothing if it has not enough.
std::optional<Cpus> choose(const Topology& topology, const Cpus& llc) {
  std::map<uint32_t, Cpus> cores;
  for (const HostCpu& cpu : llc) cores[cpu.core].push_back(cpu);
  const uint32_t threads = topology.threadsPerCore;
  Cpus chosen, siblings;
  for (const auto& [core, cpus] : cores) {
    if (cpus.size() < threads) continue;
    chosen.insert(chosen.end(), cpus.begin(), cpus.begin() + threads);
    if (threads == 1) siblings.insert(siblings.end(), cpus.begin() + 1, cpus.end());
  }
  chosen.insert(chosen.end(), siblings.begin(), siblings.end());
  if (chosen.size() < topology.cpusPerLlc()) return std::nullopt;
  chosen.resize(topology.cpusPerLlc());
  return chosen;
}

// The LLCs of the host that can hold one of the machine's, by host node.
std::map<uint32_t, std::vector<Cpus>> candidates(const Topology& topology, const Cpus& host) {
  std::map<uint32_t, Cpus> llcs;
  for (const HostCpu& cpu : host) llcs[cpu.llc].push_back(cpu);
  std::map<uint32_t, std::vector<Cpus>> found;
  for (const auto& [id, cpus] : llcs) {
    if (auto chosen = choose(topology, cpus)) found[cpus.front().node].push_back(*chosen);
  }
  return found;
}

// The node to take the next guest node's LLCs from: the one with most left.
std::vector<Cpus>& richest(std::map<uint32_t, std::vector<Cpus>>& nodes) {
  const auto fewer = [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); };
  return std::max_element(nodes.begin(), nodes.end(), fewer)->second;
}

}  // namespace

std::vector<HostCpu> readHostCpus(const std::string& root) {
  std::map<uint32_t, uint32_t> nodeOf;
  for (const uint32_t node : listed(root + "/node/online")) {
    for (const uint32_t cpu : listed(text(root, "/node/node", node, "/cpulist"))) nodeOf[cpu] = node;
  }
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    throw errnoError("host-unreadable", "ask which CPUs this process may use");
  }
  Cpus cpus;
  for (const uint32_t cpu : listed(root + "/cpu/online")) {
    if (cpu >= CPU_SETSIZE || CPU_ISSET(cpu, &allowed) == 0) continue;
    const std::string directory = text(root, "/cpu/cpu", cpu);
    const uint32_t node = nodeOf.contains(cpu) ? nodeOf[cpu] : 0;
    const uint32_t firstOfNode =
        nodeOf.contains(cpu) ? lowestOf(text(root, "/node/node", node, "/cpulist"), 0) : 0;
    cpus.push_back({cpu, lowestOf(directory + "/topology/core_cpus_list", cpu),
                    lowestOf(lastLevelCache(directory), firstOfNode), node});
  }
  if (cpus.empty())
    throw Error(ExitCode::infrastructure, "host-unreadable", "no CPU is listed in " + root + "/cpu/online");
  return cpus;
}

HostPlan planHost(const Topology& topology, const std::vector<HostCpu>& host) {
  auto nodes = candidates(topology, host);
  size_t llcs = 0;
  for (const auto& [node, list] : nodes) llcs += list.size();
  if (llcs < topology.llcs) {
    throw tooSmall(text(topology.toString(), " needs ", topology.llcs, " LLCs with ", topology.coresPerLlc,
                        " cores of ", topology.threadsPerCore, " threads each; this process may use ",
                        host.size(), " CPUs, in which there are ", llcs));
  }
  HostPlan plan;
  plan.nodes.resize(topology.nodes);
  std::vector<bool> used(CPU_SETSIZE);
  std::vector<Cpus>* from = nullptr;
  for (uint32_t llc = 0; llc < topology.llcs; ++llc) {
    const uint32_t node = topology.nodeOfLlc(llc);
    const bool first = llc == 0 || topology.nodeOfLlc(llc - 1) != node;
    if (first || from->empty()) from = &richest(nodes);
    const Cpus chosen = std::move(from->front());
    from->erase(from->begin());
    if (first) plan.nodes[node] = chosen.front().node;
    for (const HostCpu& cpu : chosen) {
      plan.vcpus.push_back(static_cast<uint16_t>(cpu.cpu));
      used[cpu.cpu] = true;
    }
  }
  for (uint32_t node = 0; node < topology.nodes; ++node) {
    if (topology.memoryOnly(node)) plan.nodes[node] = plan.nodes[topology.initiatorOf(node)];
  }
  for (const HostCpu& cpu : host) {
    if (!used[cpu.cpu]) plan.service.push_back(static_cast<uint16_t>(cpu.cpu));
  }
  if (plan.service.empty()) {
    throw tooSmall(text(topology.toString(), " would take all ", host.size(),
                        " CPUs that this process may use; one must be left for the harness"));
  }
  return plan;
}

}  // namespace ktstr
