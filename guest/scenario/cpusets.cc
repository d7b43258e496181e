#include <algorithm>
#include <cmath>

#include "guest/scenario/validate.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Cpus = std::vector<uint32_t>;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ExitCode::usage, "scenario-invalid", message, "change the cpuset or the topology");
}

// "the topology 1n2l2c2t has LLCs 0-1"
std::string available(const Topology& topology, const char* what, uint32_t count) {
  return text("the topology ", topology.toString(), " has ", what, " 0-", count - 1);
}

Cpus interval(uint32_t begin, uint32_t end) {
  Cpus cpus;
  for (uint32_t cpu = begin; cpu < end; cpu++) cpus.push_back(cpu);
  return cpus;
}

void requireFraction(const char* name, double value) {
  if (!(value >= 0.0 && value <= 1.0)) refuse(text(name, ": ", value, " is not a fraction from 0 to 1"));
}

Cpus resolveRange(rpc::CpusetSpec::Range::Reader range, const Topology& topology) {
  requireFraction("range.start", range.getStart());
  requireFraction("range.end", range.getEnd());
  const double count = topology.vcpus();
  const auto begin = static_cast<uint32_t>(std::floor(count * range.getStart()));
  const auto end = static_cast<uint32_t>(std::floor(count * range.getEnd()));
  if (begin >= end) {
    refuse(text("range: ", range.getStart(), " to ", range.getEnd(), " of ", topology.vcpus(),
                " CPUs names no CPU"));
  }
  return interval(begin, end);
}

// Part `index` of `of`, widened by `fraction` of a part at both ends.
Cpus resolvePart(const char* name, uint32_t index, uint32_t of, double fraction, const Topology& topology) {
  const uint32_t count = topology.vcpus();
  if (of == 0 || index >= of) refuse(text(name, ": there is no part ", index, " of ", of, " parts"));
  if (of > count) {
    refuse(text(name, ": ", of, " parts of the ", count, " CPUs of ", topology.toString(),
                " leave parts without a CPU"));
  }
  const uint32_t part = count / of;
  const uint32_t begin = part * index;
  const uint32_t end = index + 1 == of ? count : begin + part;
  const auto margin = static_cast<uint32_t>(std::floor(part * fraction));
  return interval(begin - std::min(begin, margin), std::min(count, end + margin));
}

Cpus resolveExact(capnp::List<uint32_t>::Reader list, const Topology& topology) {
  if (list.size() == 0) refuse("exact: names no CPU");
  Cpus cpus = cpuNumbers(list);
  std::sort(cpus.begin(), cpus.end());
  if (cpus.back() >= topology.vcpus()) {
    refuse(
        text("exact: CPU ", cpus.back(), " does not exist; ", available(topology, "CPUs", topology.vcpus())));
  }
  const auto twice = std::adjacent_find(cpus.begin(), cpus.end());
  if (twice != cpus.end()) refuse(text("exact: CPU ", *twice, " is named twice"));
  return cpus;
}

}  // namespace

Cpus cpuNumbers(capnp::List<uint32_t>::Reader list) {
  Cpus cpus;
  for (const uint32_t cpu : list) cpus.push_back(cpu);
  return cpus;
}

std::optional<Cpus> resolveCpuset(rpc::CpusetSpec::Reader spec, const Topology& topology) {
  switch (spec.which()) {
    case rpc::CpusetSpec::INHERIT:
      return std::nullopt;
    case rpc::CpusetSpec::LLC:
      if (spec.getLlc() >= topology.llcs) {
        refuse(text("llc: LLC ", spec.getLlc(), " does not exist; ",
                    available(topology, "LLCs", topology.llcs)));
      }
      return topology.cpusOfLlc(spec.getLlc());
    case rpc::CpusetSpec::NUMA:
      if (spec.getNuma() >= topology.nodes) {
        refuse(text("numa: node ", spec.getNuma(), " does not exist; ",
                    available(topology, "nodes", topology.nodes)));
      }
      if (topology.memoryOnly(spec.getNuma())) {
        refuse(text("numa: node ", spec.getNuma(), " of ", topology.toString(), " has no CPU"));
      }
      return topology.cpusOfNode(spec.getNuma());
    case rpc::CpusetSpec::RANGE:
      return resolveRange(spec.getRange(), topology);
    case rpc::CpusetSpec::DISJOINT:
      return resolvePart("disjoint", spec.getDisjoint().getIndex(), spec.getDisjoint().getOf(), 0.0,
                         topology);
    case rpc::CpusetSpec::OVERLAP:
      requireFraction("overlap.fraction", spec.getOverlap().getFraction());
      return resolvePart("overlap", spec.getOverlap().getIndex(), spec.getOverlap().getOf(),
                         spec.getOverlap().getFraction(), topology);
    case rpc::CpusetSpec::EXACT:
      return resolveExact(spec.getExact(), topology);
  }
  refuse("unknown kind of cpuset");
}

}  // namespace ktstr
