// What a guest must find out about its own machine: the topology that was declared. The same on every
// accelerator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/topology.h"
#include "protocol/report.capnp.h"

namespace ktstr::testing {

// Declared as for --topology: one of everything, threads, nodes, counts that are no powers of two, nodes that
// differ and one without CPUs, a node on both sides of the hole in memory, 64 vCPUs, and more than 64.
inline const std::vector<std::string> provenTopologies = {"1n1l1c1t",
                                                          "1n2l2c2t",
                                                          "2n4l2c1t",
                                                          "1n3l5c1t",
                                                          "2l512M,1l256M,0l256M,2c1t,0-2:32,1-2:28",
                                                          "1l1536M,1l1024M,1c1t,0-1:21",
                                                          "4n8l4c2t",
                                                          "1n8l10c1t"};

// A test's name: letters and digits of the topology.
std::string nameOfTopology(const std::string& topology);

// What the kernel's sysfs says of CPUs, cores, caches, nodes and their memory, as the agent reports it.
void expectFacts(const Topology& topology, uint32_t memoryMib, rpc::GuestFacts::Reader guest);

// Boots a machine on the given accelerator, which ends once lscpu has told what it sees in it. Expects that
// and the facts to be as declared.
void expectGuestSees(const std::string& topology, const std::string& accelerator);

// Why a machine of this size is not booted on KVM, or nothing: on one that is itself emulated 64 vCPUs take
// two minutes. KTSTR_TEST_VCPUS says how many may be had; without it any.
std::optional<std::string> whyTooBig(const std::string& topology);

}  // namespace ktstr::testing

#define KTSTR_NEED_PATIENCE(topology)                     \
  if (auto why = ::ktstr::testing::whyTooBig(topology)) { \
    GTEST_SKIP() << *why;                                 \
  }
