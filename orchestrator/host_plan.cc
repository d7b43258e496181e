#include "orchestrator/host_plan.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

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

using Llcs = std::vector<Cpus>;  // what is chosen of each

// The LLCs of the host that can hold one of the machine's, by host node. One that spans nodes is one for
// each.
std::map<uint32_t, Llcs> candidates(const Topology& topology, const Cpus& host) {
  std::map<std::pair<uint32_t, uint32_t>, Cpus> llcs;
  for (const HostCpu& cpu : host) llcs[{cpu.node, cpu.llc}].push_back(cpu);
  std::map<uint32_t, Llcs> found;
  for (const auto& [id, cpus] : llcs) {
    if (auto chosen = choose(topology, cpus)) found[id.first].push_back(*chosen);
  }
  return found;
}

// Takes so many LLCs of one host node: one that no other node of the machine has, if there is such a one, and
// of those the one with fewest.
std::optional<Llcs> take(std::map<uint32_t, Llcs>& host, std::set<uint32_t>& taken, uint32_t needed) {
  const auto rank = [&](const auto& node) {
    return std::pair(taken.contains(node.first), node.second.size());
  };
  auto best = host.end();
  for (auto node = host.begin(); node != host.end(); ++node) {
    if (node->second.size() < needed) continue;
    if (best == host.end() || rank(*node) < rank(*best)) best = node;
  }
  if (best == host.end()) return std::nullopt;
  taken.insert(best->first);
  auto& llcs = best->second;
  Llcs result(llcs.begin(), llcs.begin() + needed);
  llcs.erase(llcs.begin(), llcs.begin() + needed);
  return result;
}

// The LLCs of each node of the machine, the largest node first.
std::vector<Llcs> place(const Topology& topology, const Cpus& host) {
  std::vector<uint32_t> order(topology.nodes);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return topology.llcsOfNode(a) > topology.llcsOfNode(b); });
  auto left = candidates(topology, host);
  std::string there;
  for (const auto& [node, llcs] : left)
    there += text(there.empty() ? "" : ", ", llcs.size(), " on node ", node);
  std::set<uint32_t> taken;
  std::vector<Llcs> placed(topology.nodes);
  for (const uint32_t node : order) {
    const uint32_t needed = topology.llcsOfNode(node);
    auto llcs = take(left, taken, needed);
    if (!llcs) {
      throw tooSmall(text("node ", node, " of ", topology.toString(), " needs ", needed,
                          " LLCs of one host node, with ", topology.coresPerLlc, " cores of ",
                          topology.threadsPerCore, " threads each; this process may use ", host.size(),
                          " CPUs, in which there are ", there.empty() ? "none" : there));
    }
    placed[node] = std::move(*llcs);
  }
  return placed;
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
  const std::vector<Llcs> placed = place(topology, host);
  HostPlan plan;
  plan.nodes.resize(topology.nodes);
  std::vector<bool> used(CPU_SETSIZE);
  for (uint32_t node = 0; node < topology.nodes; ++node) {
    for (const Cpus& llc : placed[node]) {
      plan.nodes[node] = llc.front().node;
      for (const HostCpu& cpu : llc) {
        plan.vcpus.push_back(static_cast<uint16_t>(cpu.cpu));
        used[cpu.cpu] = true;
      }
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
