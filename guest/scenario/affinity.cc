#include "guest/scenario/affinity.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "guest/scenario/validate.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Cpus = std::vector<uint32_t>;

[[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) {
  throw Error(ExitCode::usage, "scenario-invalid", message, hint);
}

Cpus sortedCpus(const char* name, capnp::List<uint32_t>::Reader list, const Topology& topology) {
  Cpus cpus = cpuNumbers(list);
  std::sort(cpus.begin(), cpus.end());
  if (!cpus.empty() && cpus.back() >= topology.vcpus()) {
    refuse(text(name, ": CPU ", cpus.back(), " does not exist; the topology ", topology.toString(),
                " has CPUs 0-", topology.vcpus() - 1));
  }
  const auto twice = std::adjacent_find(cpus.begin(), cpus.end());
  if (twice != cpus.end()) refuse(text(name, ": CPU ", *twice, " is named twice"));
  return cpus;
}

Cpus common(const Cpus& a, const Cpus& b) {
  Cpus both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

Cpus exact(capnp::List<uint32_t>::Reader list, const Cpus& allowed, const Topology& topology) {
  Cpus cpus = sortedCpus("exact", list, topology);
  if (cpus.empty()) refuse("exact: names no CPU");
  if (!std::includes(allowed.begin(), allowed.end(), cpus.begin(), cpus.end())) {
    refuse(text("exact: CPUs ", cpuList(cpus), " are not inside the cgroup's ", cpuList(allowed)));
  }
  return cpus;
}

uint64_t splitMix64(uint64_t& state) {
  uint64_t mixed = state += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

std::vector<Cpus> randomSubsets(rpc::AffinityIntent::RandomSubset::Reader intent, uint32_t workers,
                                const Cpus& allowed, const Topology& topology) {
  const Cpus named = sortedCpus("randomSubset.pool", intent.getPool(), topology);
  const Cpus pool = named.empty() ? allowed : common(named, allowed);
  if (pool.empty()) {
    refuse(
        text("randomSubset.pool: no CPU of ", cpuList(named), " is inside the cgroup's ", cpuList(allowed)));
  }
  if (intent.getCount() == 0 || intent.getCount() > pool.size()) {
    refuse(text("randomSubset.count: ", intent.getCount(), " is not from 1 to the ", pool.size(), " CPUs ",
                cpuList(pool), " to draw from"));
  }
  std::vector<Cpus> subsets;
  for (uint64_t worker = 0; worker < workers; worker++) {
    Cpus drawn = pool;
    uint64_t state = intent.getSeed() + (worker << 32);
    for (size_t i = 0; i < intent.getCount(); i++) {
      std::swap(drawn[i], drawn[i + splitMix64(state) % (drawn.size() - i)]);
    }
    drawn.resize(intent.getCount());
    std::sort(drawn.begin(), drawn.end());
    subsets.push_back(std::move(drawn));
  }
  return subsets;
}

Cpus llcAligned(const Cpus& allowed, const Topology& topology) {
  Cpus most;
  for (uint32_t llc = 0; llc < topology.llcs; llc++) {
    Cpus shared = common(topology.cpusOfLlc(llc), allowed);
    if (shared.size() > most.size()) most = std::move(shared);
  }
  return most;
}

Cpus smtSiblingPair(const Cpus& allowed, const Topology& topology) {
  for (uint32_t first = 0; first < topology.vcpus(); first += topology.threadsPerCore) {
    Cpus core(topology.threadsPerCore);
    std::iota(core.begin(), core.end(), first);
    core = common(core, allowed);
    if (core.size() >= 2) return {core[0], core[1]};
  }
  refuse(text("smtSiblingPair: no core of ", topology.toString(), " has two threads among CPUs ",
              cpuList(allowed)),
         "use a topology with two threads per core, or a wider cpuset");
}

}  // namespace

std::vector<Cpus> resolveAffinity(rpc::AffinityIntent::Reader intent, uint32_t workers, const Cpus& allowed,
                                  const Topology& topology) {
  switch (intent.which()) {
    case rpc::AffinityIntent::INHERIT:
      return {};
    case rpc::AffinityIntent::EXACT:
      return {exact(intent.getExact(), allowed, topology)};
    case rpc::AffinityIntent::RANDOM_SUBSET:
      return randomSubsets(intent.getRandomSubset(), workers, allowed, topology);
    case rpc::AffinityIntent::LLC_ALIGNED:
      return {llcAligned(allowed, topology)};
    case rpc::AffinityIntent::CROSS_CGROUP: {
      Cpus all(topology.vcpus());
      std::iota(all.begin(), all.end(), 0);
      return {all};
    }
    case rpc::AffinityIntent::SINGLE_CPU:
      return {{allowed.front()}};
    case rpc::AffinityIntent::SMT_SIBLING_PAIR:
      return {smtSiblingPair(allowed, topology)};
  }
  refuse("unknown kind of affinity; this build is older than the scenario");
}

Cpus resolveNode(int32_t node, const Cpus& allowed, const Topology& topology) {
  if (node < 0 || static_cast<uint32_t>(node) >= topology.nodes) {
    refuse(text("numaNode: node ", node, " does not exist; the topology ", topology.toString(),
                " has nodes 0-", topology.nodes - 1));
  }
  Cpus cpus = common(topology.cpusOfNode(static_cast<uint32_t>(node)), allowed);
  if (cpus.empty()) {
    refuse(text("numaNode: node ", node, " has no CPU inside the cgroup's ", cpuList(allowed)));
  }
  return cpus;
}

}  // namespace ktstr
