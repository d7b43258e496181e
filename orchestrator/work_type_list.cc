#include "orchestrator/work_type_list.h"

#include <capnp/message.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "guest/scenario/work_types.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Json = nlohmann::ordered_json;

struct Listed {
  std::string name;
  const WorkTypeInfo* info;
  uint32_t group;   // by the defaults
  Json parameters;  // name and default
};

std::vector<Listed> allTypes() {
  std::vector<Listed> all;
  for (const auto field : capnp::Schema::from<rpc::WorkType>().getUnionFields()) {
    capnp::MallocMessageBuilder message;
    auto type = message.initRoot<rpc::WorkType>();
    capnp::DynamicStruct::Builder dynamic = type;
    field.getProto().isGroup() ? void(dynamic.init(field)) : dynamic.set(field, capnp::VOID);
    const std::string name = field.getProto().getName().cStr();
    Json written = Json::parse(toJson(type.asReader(), {.full = true}));
    Json parameters = written[name].is_object() ? written[name] : Json::object();
    const auto reader = type.asReader();
    all.push_back({name, &workTypeInfo(reader.which()), workGroupSize(reader), std::move(parameters)});
  }
  return all;
}

std::string shown(const Json& value) {
  return value.is_string() ? value.get<std::string>().empty() ? "\"\"" : value.get<std::string>()
                           : value.dump();
}

}  // namespace

std::string workTypeTable() {
  std::string out;
  for (const Listed& type : allTypes()) {
    out += text(type.name, type.group > 1 ? text("  (groups of ", type.group, ")") : std::string(), "\n    ",
                type.info->about, "\n");
    std::string parameters;
    for (const auto& [name, value] : type.parameters.items())
      parameters += text(' ', name, '=', shown(value));
    if (!parameters.empty()) out += "    parameters  " + parameters + "\n";
    const auto line = [&](const char* what, const char* who) {
      if (*who != 0) out += text("    ", what, who, "\n");
    };
    line("wake latency ", type.info->wakeLatency);
    line("op duration  ", type.info->opDuration);
    line("events       ", type.info->events);
    if (type.info->memory) line("pages        ", "by NUMA node");
  }
  return out +
         "every type: iterations, work units, CPU time, run delay, switches, faults, gap, migrations, CPUs, "
         "errors\n";
}

std::string workTypeJsonLines() {
  std::string out;
  for (const Listed& type : allTypes()) {
    Json line = {{"name", type.name}, {"about", type.info->about}, {"groupSize", type.group}};
    line["cpuBound"] = type.info->cpuBound;
    line["parameters"] = type.parameters;
    line["wakeLatency"] = type.info->wakeLatency;
    line["opDuration"] = type.info->opDuration;
    line["events"] = type.info->events;
    line["numaPages"] = type.info->memory;
    out += line.dump() + "\n";
  }
  return out;
}

}  // namespace ktstr
