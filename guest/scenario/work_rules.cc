#include <capnp/dynamic.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "guest/scenario/work_types.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

struct Range {
  uint64_t least = 1, most = UINT32_MAX;
};

// By the parameter's name, or by type and name where one type differs. Others go by their unit.
const std::map<std::string_view, Range>& exceptions() {
  static const std::map<std::string_view, Range> all = {
      {"fanOut", {1, 1024}},
      {"depth", {2, 1024}},
      {"producers", {1, 1024}},
      {"consumers", {1, 1024}},
      {"waiters", {1, 1024}},
      {"contenders", {2, 1024}},
      {"cfsWorkers", {1, 1024}},
      {"rtWorkers", {1, 1024}},
      {"high", {1, 64}},
      {"medium", {0, 64}},
      {"low", {1, 64}},
      {"groups", {2, 64}},
      {"rtPriority", {1, 99}},
      {"produceRateHz", {1, 1'000'000}},
      {"queueDepthTarget", {2, 65536}},
      {"eventsPerBurst", {1, 65536}},
      {"signalsPerIter", {1, 65536}},
      {"deviceUs", {0, 3'600'000'000}},
      {"fanOutCompute.sleepUs", {0, 3'600'000'000}},
  };
  return all;
}

Range rangeOf(const std::string& type, std::string_view name) {
  for (const std::string_view key : {std::string_view(type), name}) {
    const auto found = exceptions().find(key);
    if (found != exceptions().end()) return found->second;
  }
  if (name.ends_with("Us")) return {1, 3'600'000'000};
  if (name.ends_with("Ms")) return {1, 3'600'000};
  if (name.ends_with("Kib")) return {4, 1'048'576};
  return {};
}

[[noreturn]] void refuse(const std::string& place, const std::string& reason, const std::string& hint = {}) {
  throw Error(ExitCode::usage, "scenario-invalid", place + ": " + reason, hint);
}

// Numbers and enums of a struct, and of what is in it. `type` goes before a parameter's name in a rule.
void checkRanges(const std::string& place, const std::string& type, capnp::DynamicStruct::Reader parameters) {
  for (const auto field : parameters.getSchema().getFields()) {
    const bool inUnion = field.getProto().getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT;
    if (inUnion && !parameters.has(field)) continue;
    const std::string name = field.getProto().getName().cStr();
    const std::string where = text(place, ".", name);
    const capnp::DynamicValue::Reader value = parameters.get(field);
    if (value.getType() == capnp::DynamicValue::STRUCT) {
      checkRanges(where, name, value.as<capnp::DynamicStruct>());
    } else if (value.getType() == capnp::DynamicValue::ENUM) {
      if (value.as<capnp::DynamicEnum>().getEnumerant() == nullptr) {
        refuse(where, "unknown value; this build is older than the scenario");
      }
    } else if (value.getType() == capnp::DynamicValue::UINT) {
      const auto number = value.as<uint64_t>();
      const Range range = rangeOf(text(type, ".", name), name);
      if (number < range.least || number > range.most) {
        refuse(where, text(number, " is not from ", range.least, " to ", range.most));
      }
    }
  }
}

void checkStride(const std::string& place, uint32_t stride, uint32_t sizeKib) {
  if (stride <= uint64_t{sizeKib} * 1024) return;
  refuse(place + ".stride", text(stride, " bytes; longer than the buffer of ", sizeKib, " KiB"));
}

void checkNodes(const std::string& place, capnp::List<uint32_t>::Reader nodes, const Topology& topology) {
  for (const uint32_t node : nodes) {
    if (node < topology.nodes) continue;
    refuse(place, text("node ", node, " does not exist; the topology ", topology.toString(), " has nodes 0-",
                       topology.nodes - 1));
  }
}

void checkPhases(const std::string& place, capnp::List<rpc::WorkPhase>::Reader phases) {
  if (phases.size() == 0 || phases.size() > 64) refuse(place, text(phases.size(), " phases; from 1 to 64"));
  for (unsigned i = 0; i < phases.size(); i++) checkRanges(text(place, '[', i, ']'), "", phases[i]);
}

bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

void checkName(const std::string& place, std::string_view name) {
  if (!name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), isWordCharacter)) return;
  refuse(place, text('"', name, "\" is not 1-64 of the characters A-Z a-z 0-9 _ . -"));
}

void checkNodeChange(const std::string& place, const Topology& topology) {
  uint32_t withCpus = 0;
  for (uint32_t node = 0; node < topology.nodes; node++) withCpus += topology.memoryOnly(node) ? 0 : 1;
  if (withCpus >= 2) return;
  refuse(place,
         text("the topology ", topology.toString(), " has one node with CPUs: there is none to go to"));
}

// What a range cannot say.
void checkMeaning(const std::string& place, rpc::WorkType::Reader type, const Topology& topology) {
  using Type = rpc::WorkType;
  switch (type.which()) {
    case Type::CACHE_PRESSURE:
      return checkStride(place, type.getCachePressure().getStride(), type.getCachePressure().getSizeKib());
    case Type::CACHE_YIELD:
      return checkStride(place, type.getCacheYield().getStride(), type.getCacheYield().getSizeKib());
    case Type::NUMA_WORKING_SET_SWEEP:
      return checkNodes(place + ".targetNodes", type.getNumaWorkingSetSweep().getTargetNodes(), topology);
    case Type::NUMA_MIGRATION_CHURN:
      return checkNodeChange(place, topology);
    case Type::SEQUENCE:
      return checkPhases(place + ".phases", type.getSequence().getPhases());
    case Type::SMT_SIBLING_SPIN:
      if (topology.threadsPerCore > 1) return;
      refuse(place, text("the topology ", topology.toString(), " has one thread per core: no siblings"));
    case Type::CUSTOM: {
      const auto name = type.getCustom().getName();
      return checkName(place + ".name", {name.begin(), name.size()});
    }
    default:
      return;
  }
}

}  // namespace

void checkWorkType(const std::string& place, rpc::WorkSpec::Reader work, const Topology& topology) {
  const rpc::WorkType::Reader type = work.getType();
  const std::string name = workTypeName(type);
  if (name == "unknown") refuse(place + ".type", "unknown work type; this build is older than the scenario");
  checkRanges(place + ".type", "", type);
  checkMeaning(place + ".type." + name, type, topology);
  const uint32_t size = workGroupSize(type), workers = work.getWorkers();
  if (workers % size != 0) {
    refuse(place + ".workers", text(workers, " workers; ", name, " works in groups of ", size),
           text("use ", (workers / size + 1) * uint64_t{size}));
  }
  if (work.getCloneMode() > rpc::CloneMode::THREAD) {
    refuse(place + ".cloneMode", "unknown value; this build is older than the scenario");
  }
  if (type.isCgroupChurn() && work.getCloneMode() == rpc::CloneMode::THREAD) {
    refuse(place + ".cloneMode",
           "cgroupChurn moves whole processes, so its workers cannot be threads of one");
  }
}

}  // namespace ktstr
