// The parts of validateScenario() that need no state. All throw as it does; `place` begins every message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "guest/topology.h"
#include "protocol/error.h"
#include "protocol/scenario.capnp.h"

namespace ktstr {

using Cpus = std::vector<uint32_t>;  // ascending

[[noreturn]] void refuse(const std::string& place, const std::string& reason, const std::string& hint = {});

// What `resolve` refuses without a place, it refuses at `place`.
template <typename Resolve>
auto at(const std::string& place, Resolve&& resolve) {
  try {
    return resolve();
  } catch (const Error& error) {
    throw Error(error.code(), error.name(), place + "." + error.message(), error.hint());
  }
}

std::string_view view(capnp::Text::Reader value);
std::string string(capnp::Text::Reader value);

void checkWord(const std::string& place, std::string_view word);                  // 1-64 of A-Z a-z 0-9 _ . -
void checkMilliseconds(const std::string& place, double value);                   // 1 .. maxMilliseconds
void checkFraction(const std::string& place, double value, uint32_t durationMs);  // of a duration
void checkNumber(const std::string& place, uint64_t value, uint64_t least, uint64_t most);
void checkTaskName(const std::string& place, std::string_view name);  // 0-15 printable bytes, no slash
void checkNice(const std::string& place, int nice);

void checkLimits(const std::string& place, rpc::CgroupLimits::Reader limits);
void checkPolicy(const std::string& place, rpc::WorkSpec::Reader work);
// `mems`: the nodes that the cgroup's cpuset.mems leaves, or all with memory.
void checkMemory(const std::string& place, rpc::MemPolicy::Reader policy, const Topology& topology,
                 const std::vector<uint32_t>& mems);
// What the work needs of the CPUs and the memory nodes that its place leaves it; `cpus`: of one worker or
// another.
void checkPlaceOfWork(const std::string& place, rpc::WorkType::Reader type, const Topology& topology,
                      const Cpus& cpus, const std::vector<uint32_t>& mems);
// Nodes that exist and are named once each; at least one.
void checkNodes(const std::string& place, capnp::List<uint32_t>::Reader nodes, const Topology& topology);

}  // namespace ktstr
