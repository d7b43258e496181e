#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "guest/agent/system.h"
#include "guest/topology.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

std::string firstLine(const std::string& path) {
  const std::string content = readFileIfThere(path).value_or("");
  return content.substr(0, content.find('\n'));
}

uint64_t memTotalKib() {
  unsigned long long kib = 0;
  return sscanf(readFileIfThere("/proc/meminfo").value_or("").c_str(), "MemTotal: %llu kB", &kib) == 1 ? kib
                                                                                                       : 0;
}

// Distinct lists in order of the first CPU they are seen on.
std::vector<std::string> llcLists(const std::vector<uint32_t>& cpus) {
  std::vector<std::string> lists;
  for (const uint32_t cpu : cpus) {
    std::string list = firstLine(text("/sys/devices/system/cpu/cpu", cpu, "/cache/index3/shared_cpu_list"));
    if (!list.empty() && std::find(lists.begin(), lists.end(), list) == lists.end()) lists.push_back(list);
  }
  return lists;
}

std::vector<std::string> nodeLists() {
  std::vector<std::string> lists;
  for (unsigned node = 0;; node++) {
    const auto list = readFileIfThere(text("/sys/devices/system/node/node", node, "/cpulist"));
    if (!list) return lists;
    lists.push_back(list->substr(0, list->find('\n')));
  }
}

void copy(const std::vector<std::string>& from, capnp::List<capnp::Text>::Builder to) {
  for (unsigned i = 0; i < to.size(); i++) to.set(i, from[i]);
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
  const std::vector<std::string> llcs = llcLists(online), nodes = nodeLists();
  copy(llcs, facts.initLlcCpulists(static_cast<unsigned>(llcs.size())));
  copy(nodes, facts.initNodeCpulists(static_cast<unsigned>(nodes.size())));
}

}  // namespace ktstr::agent
