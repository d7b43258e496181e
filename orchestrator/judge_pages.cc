#include <algorithm>
#include <set>

#include "guest/scenario/validate.h"
#include "guest/topology.h"
#include "orchestrator/judge_group.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

using Report = rpc::WorkerReport::Reader;
using Nodes = std::set<uint32_t>;

// The CPUs of node 0, 1, ..., as the guest's kernel has them; empty: it did not tell, or nonsense.
std::vector<std::vector<uint32_t>> cpusOfNodes(const Evidence& evidence) try {
  std::vector<std::vector<uint32_t>> nodes;
  for (const auto& event : evidence.events) {
    if (!event.isReady()) continue;
    for (const auto list : event.getReady().getNodeCpulists()) nodes.push_back(parseCpuList(list.cStr()));
  }
  return nodes;
} catch (const Error&) {
  return {};
}

std::optional<capnp::List<uint32_t>::Reader> namedNodes(rpc::MemPolicy::Reader policy) {
  switch (policy.which()) {
    case rpc::MemPolicy::BIND:
      return policy.getBind();
    case rpc::MemPolicy::INTERLEAVE:
      return policy.getInterleave();
    case rpc::MemPolicy::PREFERRED_MANY:
      return policy.getPreferredMany();
    case rpc::MemPolicy::WEIGHTED_INTERLEAVE:
      return policy.getWeightedInterleave();
    default:
      return std::nullopt;
  }
}

// Where the worker's memory belongs: by its policy, else near the CPUs that it may use.
Nodes homeOf(const GroupCase& it, Report report, const std::vector<std::vector<uint32_t>>& cpus) {
  if (it.group.memory.isPreferred()) return {it.group.memory.getPreferred()};
  if (const auto named = namedNodes(it.group.memory)) return Nodes(named->begin(), named->end());
  const std::vector<uint32_t> list = cpuNumbers(report.getCpuset());
  const std::set<uint32_t> allowed(list.begin(), list.end());
  Nodes nodes;
  for (uint32_t node = 0; node < cpus.size(); ++node) {
    const auto usable = [&](uint32_t cpu) { return allowed.empty() || allowed.contains(cpu); };
    if (std::any_of(cpus[node].begin(), cpus[node].end(), usable)) nodes.insert(node);
  }
  return nodes;
}

struct Pages {
  double all = 0;
  std::string where;  // "node 0: 12, node 1: 500"
};

double shareOn(const Nodes& nodes, Report report) {
  double on = 0, all = 0;
  for (const auto each : report.getNumaPages()) {
    all += static_cast<double>(each.getPages());
    if (nodes.contains(each.getNode())) on += static_cast<double>(each.getPages());
  }
  return on / all;
}

Pages pagesOf(Report report) {
  Pages pages;
  for (const auto each : report.getNumaPages()) {
    pages.all += static_cast<double>(each.getPages());
    pages.where += text(pages.where.empty() ? "" : ", ", "node ", each.getNode(), ": ", each.getPages());
  }
  return pages;
}

std::string nodeList(const Nodes& nodes) {
  return nodes.empty() ? "none" : cpuList({nodes.begin(), nodes.end()});
}

void addBroken(const GroupCase& it, Report report, Limit Limits::*which, const char* name,
               std::string message, const char* hint, double value) {
  Finding finding = it.about(report, name, message + ", " + it.limitText(which), hint);
  finding.evidence = text("its pages at the end: ", pagesOf(report).where, "; it ran on CPUs ",
                          cpuList(cpuNumbers(report.getCpusSeen())));
  it.broken(std::move(finding), value, which);
}

void judgeLocality(const GroupCase& it, Report report, const std::vector<std::vector<uint32_t>>& cpus) {
  constexpr auto which = &Limits::minPageLocality;
  if (!it.limit(which).set || it.group.memory.getRelativeNodes()) return;
  const Nodes home = homeOf(it, report, cpus);
  const double share = shareOn(home, report);
  if (share >= it.limit(which).value()) return;
  addBroken(
      it, report, which, "page-locality",
      text("has ", formatNumber(100 * share), " % of its pages on nodes ", nodeList(home),
           ", where they belong"),
      "it ran where its memory is not, or its memory went elsewhere: look at the nodes of the CPUs it ran on",
      share);
}

void judgeSlowTier(const GroupCase& it, Report report, const std::vector<std::vector<uint32_t>>& cpus) {
  constexpr auto which = &Limits::maxSlowTierRatio;
  if (!it.limit(which).set) return;
  Nodes slow;
  for (uint32_t node = 0; node < cpus.size(); ++node) {
    if (cpus[node].empty()) slow.insert(node);
  }
  const double share = shareOn(slow, report);
  if (share <= it.limit(which).value()) return;
  addBroken(
      it, report, which, "slow-tier",
      text("has ", formatNumber(100 * share), " % of its pages on nodes ", nodeList(slow),
           ", which have no CPUs"),
      "its memory was demoted, or did not fit: give the nodes with CPUs more, or look at the memory policy",
      share);
}

void judgeMoved(const GroupCase& it, Report report) {
  constexpr auto which = &Limits::maxCrossNodeMigrationRatio;
  if (!it.limit(which).set) return;
  if (!report.getNumaPagesMigratedValid())
    return it.notJudged(which, "the kernel does not say how many pages it moved (CONFIG_NUMA_BALANCING)");
  const Pages pages = pagesOf(report);
  const double ratio = static_cast<double>(report.getNumaPagesMigrated()) / pages.all;
  if (ratio <= it.limit(which).value()) return;
  addBroken(it, report, which, "cross-node-migration",
            text("had ", report.getNumaPagesMigrated(), " pages moved between nodes, and has ", pages.all,
                 ": ", formatNumber(ratio), " times each"),
            "NUMA balancing follows it from node to node: the scheduler moves it too often", ratio);
}

// Why a limit cannot be judged of any worker of the group; empty: it can.
std::string obstacle(const GroupCase& it, Limit Limits::*which, bool anyPages, bool nodesKnown) {
  if (!anyPages) return "no worker of " + it.groupName() + " had any page at its end";
  if (!nodesKnown && which != &Limits::maxCrossNodeMigrationRatio)
    return "the guest did not tell the CPUs of its nodes";
  if (which == &Limits::minPageLocality && it.group.memory.getRelativeNodes())
    return "the memory policy of " + it.groupName() + " counts nodes relative to its cpuset";
  return "";
}

}  // namespace

void judgePages(const GroupCase& it) {
  constexpr Limit Limits::*all[] = {&Limits::minPageLocality, &Limits::maxCrossNodeMigrationRatio,
                                    &Limits::maxSlowTierRatio};
  if (!it.group.hasPages || it.group.reports.empty()) return;
  const auto cpus = cpusOfNodes(it.evidence);
  bool any = false;
  for (const auto& report : it.group.reports) {
    if (!endedClean(report) || pagesOf(report).all == 0) continue;
    any = true;
    if (!cpus.empty()) judgeLocality(it, report, cpus);
    if (!cpus.empty()) judgeSlowTier(it, report, cpus);
    judgeMoved(it, report);
  }
  for (const auto which : all) {
    const std::string why = obstacle(it, which, any, !cpus.empty());
    if (it.limit(which).set && !why.empty()) it.notJudged(which, why);
  }
}

}  // namespace ktstr
