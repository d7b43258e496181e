// Which CPUs and NUMA nodes of the host a machine in performance mode gets.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest/topology.h"

namespace ktstr {

struct HostCpu {
  uint32_t cpu;
  uint32_t core;  // the lowest CPU of its core
  uint32_t llc;   // the lowest CPU that shares its last-level cache
  uint32_t node;
};

// The CPUs that are online and that this process may use, ascending, by sysfs: topology/core_cpus_list, the
// shared_cpu_list of the cache of the highest level, and nodeN. What sysfs does not tell (in some VMs) is
// taken as: a core of its own, one LLC per node, node 0. `root` is /sys/devices/system but for tests. Throws
// Error "host-unreadable".
std::vector<HostCpu> readHostCpus(const std::string& root = "/sys/devices/system");

struct HostPlan {
  std::vector<uint16_t> vcpus;    // host CPU of each vCPU
  std::vector<uint16_t> service;  // the others: for the harness's own threads; at least one
  // Host node for the memory of each guest node; that of a memory-only one is with its nearest CPUs'.
  std::vector<uint32_t> nodes;
};

// Each LLC of the machine gets an LLC of the host to itself, all of one node on one node of the host,
// different nodes on different ones as long as there are any. A core with several threads gets a core of the
// host with as many; cores with one thread get different cores, as long as there are any. Throws Error
// "host-too-small" naming what lacks and what there is.
HostPlan planHost(const Topology& topology, const std::vector<HostCpu>& host);

}  // namespace ktstr
