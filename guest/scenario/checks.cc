#include "guest/scenario/checks.h"

#include <algorithm>
#include <cmath>

#include "guest/scenario/validate.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint64_t page = 4096;
constexpr size_t taskNameBytes = 15;  // TASK_COMM_LEN - 1

bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

void checkBytes(const std::string& place, uint64_t bytes) {
  if (bytes == rpc::UNLIMITED || bytes % page == 0) return;
  refuse(place, text(bytes, " bytes are not whole pages: the kernel would round them down"),
         text("use ", bytes - bytes % page, " or ", bytes - bytes % page + page));
}

// 0: not set.
void checkOrder(const std::string& place, const char* lower, uint64_t low, const char* upper, uint64_t high) {
  if (low == 0 || high == 0 || low <= high) return;
  refuse(place + "." + lower, text(low, " is more than ", upper, " ", high));
}

void checkNodeList(const std::string& place, capnp::List<uint32_t>::Reader nodes, bool relative,
                   const Topology& topology, const std::vector<uint32_t>& mems) {
  checkNodes(place, nodes, topology);
  if (relative) return;
  for (const uint32_t node : nodes) {
    if (std::find(mems.begin(), mems.end(), node) == mems.end()) {
      refuse(place, text("node ", node, " is not one of the cgroup's memory nodes ", cpuList(mems)),
             "widen cpusetMems, or name nodes inside it");
    }
  }
}

bool haveSiblings(const Cpus& cpus, const Topology& topology) {
  for (size_t i = 1; i < cpus.size(); i++) {
    if (cpus[i] / topology.threadsPerCore == cpus[i - 1] / topology.threadsPerCore) return true;
  }
  return false;
}

bool areOnSeveralNodes(const Cpus& cpus, const Topology& topology) {
  return std::any_of(cpus.begin(), cpus.end(),
                     [&](uint32_t cpu) { return topology.nodeOf(cpu) != topology.nodeOf(cpus.front()); });
}

}  // namespace

void refuse(const std::string& place, const std::string& reason, const std::string& hint) {
  throw Error(ExitCode::usage, "scenario-invalid", place + ": " + reason, hint);
}

std::string_view view(capnp::Text::Reader value) {
  return {value.begin(), value.size()};
}

std::string string(capnp::Text::Reader value) {
  return std::string(view(value));
}

void checkWord(const std::string& place, std::string_view word) {
  const bool good =
      !word.empty() && word.size() <= 64 && std::all_of(word.begin(), word.end(), isWordCharacter);
  if (good) return;
  const std::string shown =
      word.size() <= 80 ? text('"', word, '"') : text("a name of ", word.size(), " bytes");
  refuse(place, text(shown, " is not 1-64 of the characters A-Z a-z 0-9 _ . -"));
}

void checkMilliseconds(const std::string& place, double value) {
  if (!(value >= 1 && value <= maxMilliseconds)) {
    refuse(place, text(value, " ms is not from 1 to ", maxMilliseconds, " ms"));
  }
}

void checkFraction(const std::string& place, double value, uint32_t durationMs) {
  if (!std::isfinite(value) || value <= 0) refuse(place, text(value, " is not a finite number above 0"));
  checkMilliseconds(place, std::floor(value * durationMs));
}

void checkNumber(const std::string& place, uint64_t value, uint64_t least, uint64_t most) {
  if (value < least || value > most) refuse(place, text(value, " is not from ", least, " to ", most));
}

void checkTaskName(const std::string& place, std::string_view name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
  if (name.size() > taskNameBytes || !printable) {
    refuse(place, text("a name of ", name.size(), " bytes; the kernel keeps ", taskNameBytes,
                       ", which here are printable ASCII without spaces"));
  }
}

void checkNice(const std::string& place, int nice) {
  if (nice < -20 || nice > 19) refuse(place, text(nice, " is not from -20 to 19"));
}

void checkLimits(const std::string& place, rpc::CgroupLimits::Reader limits) {
  const auto range = [&](const char* name, uint64_t value, uint64_t least, uint64_t most) {
    if (value != 0 && value != rpc::UNLIMITED) checkNumber(place + "." + name, value, least, most);
  };
  if (limits.getCpuWeight() > 10000) {
    refuse(place + ".cpuWeight", text(limits.getCpuWeight(), " is not from 1 to 10000 (0: the default)"));
  }
  if (limits.getIoWeight() > 10000) {
    refuse(place + ".ioWeight", text(limits.getIoWeight(), " is not from 1 to 10000 (0: the default)"));
  }
  range("cpuQuotaUs", limits.getCpuQuotaUs(), 1000, 1'000'000'000);
  checkNumber(place + ".cpuPeriodUs", limits.getCpuPeriodUs(), 1000, 1'000'000);
  range("pidsMax", limits.getPidsMax(), 1, 4 << 20);
  checkBytes(place + ".memoryMaxBytes", limits.getMemoryMaxBytes());
  checkBytes(place + ".memoryHighBytes", limits.getMemoryHighBytes());
  checkBytes(place + ".memoryLowBytes", limits.getMemoryLowBytes());
  checkBytes(place + ".memorySwapMaxBytes", limits.getMemorySwapMaxBytes());
  checkOrder(place, "memoryLowBytes", limits.getMemoryLowBytes(), "memoryHighBytes",
             limits.getMemoryHighBytes());
  checkOrder(place, "memoryLowBytes", limits.getMemoryLowBytes(), "memoryMaxBytes",
             limits.getMemoryMaxBytes());
  checkOrder(place, "memoryHighBytes", limits.getMemoryHighBytes(), "memoryMaxBytes",
             limits.getMemoryMaxBytes());
}

void checkPolicy(const std::string& place, rpc::WorkSpec::Reader work) {
  const auto policy = work.getPolicy();
  if (policy.isFifo()) checkNumber(place + ".policy.fifo", policy.getFifo(), 1, 99);
  if (policy.isRr()) checkNumber(place + ".policy.rr", policy.getRr(), 1, 99);
  if (policy.isDeadline()) {
    const auto deadline = policy.getDeadline();
    const uint32_t period = deadline.getPeriodUs() != 0 ? deadline.getPeriodUs() : deadline.getDeadlineUs();
    const std::string where = place + ".policy.deadline";
    checkNumber(where + ".deadlineUs", deadline.getDeadlineUs(), 1, period);
    // The kernel's resolution: runtimes below 1024 ns are refused (__checkparam_dl(), DL_SCALE).
    checkNumber(where + ".runtimeUs", deadline.getRuntimeUs(), 2, deadline.getDeadlineUs());
  }
  const bool hasNice = !policy.isFifo() && !policy.isRr() && !policy.isDeadline();
  if (work.getNice() != 0 && !hasNice) {
    refuse(place + ".nice", "a real-time or deadline task has no nice value", "leave nice or the policy out");
  }
}

void checkPlaceOfWork(const std::string& place, rpc::WorkType::Reader type, const Topology& topology,
                      const Cpus& cpus, const std::vector<uint32_t>& mems) {
  if (type.isNumaMigrationChurn() && !areOnSeveralNodes(cpus, topology)) {
    refuse(place + ".numaMigrationChurn",
           text("may run on CPUs ", cpuList(cpus), ", which are of one node: there is none to go to"),
           "widen the cpuset or the affinity to CPUs of two nodes");
  }
  if (type.isSmtSiblingSpin() && !haveSiblings(cpus, topology)) {
    refuse(place + ".smtSiblingSpin",
           text("may run on CPUs ", cpuList(cpus), ", of which no two are threads of one core: no siblings"),
           "widen the cpuset, or use the affinity smtSiblingPair");
  }
  if (!type.isNumaWorkingSetSweep()) return;
  for (const uint32_t node : type.getNumaWorkingSetSweep().getTargetNodes()) {
    if (std::find(mems.begin(), mems.end(), node) != mems.end()) continue;
    refuse(place + ".numaWorkingSetSweep.targetNodes",
           text("node ", node, " is not one of the cgroup's memory nodes ", cpuList(mems)),
           "widen cpusetMems, or name nodes inside it");
  }
}

void checkNodes(const std::string& place, capnp::List<uint32_t>::Reader nodes, const Topology& topology) {
  if (nodes.size() == 0) refuse(place, "names no node");
  std::vector<uint32_t> seen;
  for (const uint32_t node : nodes) {
    if (node >= topology.nodes) {
      refuse(place, text("node ", node, " does not exist; the topology ", topology.toString(),
                         " has nodes 0-", topology.nodes - 1));
    }
    if (std::find(seen.begin(), seen.end(), node) != seen.end()) {
      refuse(place, text("node ", node, " is named twice"));
    }
    seen.push_back(node);
  }
}

void checkMemory(const std::string& place, rpc::MemPolicy::Reader policy, const Topology& topology,
                 const std::vector<uint32_t>& mems) {
  const bool relative = policy.getRelativeNodes();
  const auto list = [&](const char* name, capnp::List<uint32_t>::Reader nodes) {
    checkNodeList(place + "." + name, nodes, relative, topology, mems);
  };
  if (policy.getStaticNodes() && relative) refuse(place + ".relativeNodes", "excludes staticNodes");
  if (policy.getNumaBalancing() && !policy.isBind() && !policy.isPreferredMany()) {
    refuse(place + ".numaBalancing", "the kernel takes it only with bind and preferredMany");
  }
  const bool flags = policy.getStaticNodes() || relative;
  switch (policy.which()) {
    case rpc::MemPolicy::DEFAULT:
    case rpc::MemPolicy::LOCAL:
      if (flags) refuse(place, "staticNodes and relativeNodes mean nothing without nodes");
      return;
    case rpc::MemPolicy::PREFERRED:
      if (policy.getPreferred() >= topology.nodes) {
        refuse(place + ".preferred", text("node ", policy.getPreferred(), " does not exist; the topology ",
                                          topology.toString(), " has nodes 0-", topology.nodes - 1));
      }
      if (!relative && std::find(mems.begin(), mems.end(), policy.getPreferred()) == mems.end()) {
        refuse(place + ".preferred", text("node ", policy.getPreferred(),
                                          " is not one of the cgroup's memory nodes ", cpuList(mems)));
      }
      return;
    case rpc::MemPolicy::BIND:
      return list("bind", policy.getBind());
    case rpc::MemPolicy::INTERLEAVE:
      return list("interleave", policy.getInterleave());
    case rpc::MemPolicy::PREFERRED_MANY:
      return list("preferredMany", policy.getPreferredMany());
    case rpc::MemPolicy::WEIGHTED_INTERLEAVE:
      return list("weightedInterleave", policy.getWeightedInterleave());
  }
  refuse(place, "unknown memory policy; this build is older than the scenario");
}

}  // namespace ktstr
