#include "guest/topology.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr const char* example =
    "write NnLlCcTt: NUMA nodes, LLCs in all, cores per LLC, threads per core; for example 1n2l2c2t for 8 "
    "vCPUs";

[[noreturn]] void invalid(const std::string& reason) {
  throw Error(ExitCode::usage, "topology-invalid", reason, example);
}

// Takes a number without sign or leading zeros off the front of `text`.
std::optional<uint32_t> takeNumber(std::string_view& text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<size_t>(end - text.data());
  if (error != std::errc() || (length > 1 && text.front() == '0')) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

unsigned bitsFor(uint32_t count) {
  return static_cast<unsigned>(std::bit_width(count - 1));
}

std::vector<uint32_t> sequence(uint32_t first, uint32_t count) {
  std::vector<uint32_t> numbers(count);
  for (uint32_t i = 0; i < count; i++) numbers[i] = first + i;
  return numbers;
}

}  // namespace

std::vector<uint32_t> Topology::cpusOfLlc(uint32_t llc) const {
  return sequence(llc * cpusPerLlc(), cpusPerLlc());
}

std::vector<uint32_t> Topology::cpusOfNode(uint32_t node) const {
  return sequence(node * llcsPerNode() * cpusPerLlc(), llcsPerNode() * cpusPerLlc());
}

uint32_t Topology::apicId(uint32_t cpu) const {
  const unsigned threadBits = bitsFor(threadsPerCore);
  const unsigned coreBits = bitsFor(coresPerLlc);
  const uint32_t thread = cpu % threadsPerCore;
  const uint32_t core = cpu / threadsPerCore % coresPerLlc;
  return llcOf(cpu) << (coreBits + threadBits) | core << threadBits | thread;
}

std::string Topology::toString() const {
  return text(nodes, "n", llcs, "l", coresPerLlc, "c", threadsPerCore, "t");
}

Topology parseTopology(std::string_view text) {
  Topology topology;
  std::string_view rest = text;
  const std::pair<char, uint32_t*> parts[] = {{'n', &topology.nodes},
                                              {'l', &topology.llcs},
                                              {'c', &topology.coresPerLlc},
                                              {'t', &topology.threadsPerCore}};
  for (const auto& [letter, value] : parts) {
    const std::optional<uint32_t> number = takeNumber(rest);
    if (!number || !rest.starts_with(letter)) {
      invalid(ktstr::text("\"", text, "\" is not of the form NnLlCcTt"));
    }
    *value = *number;
    rest.remove_prefix(1);
  }
  if (!rest.empty()) invalid(ktstr::text("\"", text, "\" goes on after the threads: \"", rest, "\""));
  checkTopology(topology);
  return topology;
}

void checkTopology(const Topology& topology) {
  const std::string name = topology.toString();
  if (topology.nodes == 0 || topology.llcs == 0 || topology.coresPerLlc == 0 ||
      topology.threadsPerCore == 0) {
    invalid(name + ": every number must be at least 1");
  }
  if (topology.nodes > maxNodes) invalid(text(name, ": more than ", maxNodes, " NUMA nodes"));
  if (topology.llcs % topology.nodes != 0) {
    invalid(text(name, ": ", topology.llcs, " LLCs cannot be dealt evenly to ", topology.nodes, " nodes"));
  }
  uint64_t vcpus = 1;
  for (const uint32_t count : {topology.llcs, topology.coresPerLlc, topology.threadsPerCore}) {
    vcpus *= std::min<uint64_t>(count, maxVcpus + 1);
  }
  if (vcpus > maxVcpus) invalid(text(name, ": more than ", maxVcpus, " vCPUs"));
}

std::string cpuList(std::vector<uint32_t> cpus) {
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  std::string list;
  for (size_t i = 0; i < cpus.size();) {
    size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) last++;
    if (!list.empty()) list += ",";
    list += std::to_string(cpus[i]);
    if (last > i) list += "-" + std::to_string(cpus[last]);
    i = last + 1;
  }
  return list;
}

std::vector<uint32_t> parseCpuList(std::string_view text, uint32_t limit) {
  std::vector<uint32_t> cpus;
  std::string_view rest = text;
  if (rest.ends_with('\n')) rest.remove_suffix(1);
  const auto fail = [&](const std::string& reason) {
    throw Error(ExitCode::usage, "cpu-list-invalid", ktstr::text("\"", text, "\": ", reason),
                "write numbers and ranges, for example 0-3,8");
  };
  while (!rest.empty()) {
    const std::optional<uint32_t> first = takeNumber(rest);
    std::optional<uint32_t> last = first;
    if (first && rest.starts_with('-')) {
      rest.remove_prefix(1);
      last = takeNumber(rest);
    }
    if (!first || !last) fail("not a list of CPU numbers");
    if (*last < *first) fail(ktstr::text("range ", *first, "-", *last, " descends"));
    if (*last >= limit) fail(ktstr::text("CPU ", *last, " is not below ", limit));
    for (uint32_t cpu = *first; cpu <= *last; cpu++) cpus.push_back(cpu);
    if (rest.empty()) break;
    if (!rest.starts_with(',') || rest.size() == 1) fail("not a list of CPU numbers");
    rest.remove_prefix(1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

}  // namespace ktstr
