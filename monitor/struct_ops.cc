#include "monitor/struct_ops.h"

#include "monitor/attach.h"
#include "protocol/error.h"

namespace ktstr {

std::vector<uint64_t> structOpsPrograms(const KernelFields& fields, uint64_t map) {
  constexpr uint32_t maxFunctions = 256;
  std::vector<uint64_t> programs;
  const auto links = fields.get<uint64_t>(map, "bpf_struct_ops_map.links");
  const auto count = fields.get<uint32_t>(map, "bpf_struct_ops_map.funcs_cnt");
  for (uint32_t i = 0; links && i < std::min(count.value_or(0), maxFunctions); ++i) {
    const uint64_t link = fields.kernel().read<uint64_t>(*links + uint64_t{8} * i).value_or(0);
    const uint64_t program = link ? fields.get<uint64_t>(link, "bpf_link.prog").value_or(0) : 0;
    if (program) programs.push_back(program);
  }
  return programs;
}

std::map<uint64_t, std::string> structOpsFunctions(const KernelFields& fields, const BpfMap& map) {
  constexpr uint64_t maxBytes = 64 * 1024;
  const auto own = fields.at(map.address, "bpf_struct_ops_map.kvalue"),
             data = fields.at(map.address, "bpf_struct_ops_map.kvalue.data");
  const auto users = fields.get<uint64_t>(map.address, "bpf_struct_ops_map.uvalue");
  std::map<uint64_t, std::string> names, functions;
  if (!own || !data || !users) return functions;
  const BpfObjects objects(fields.kernel(), fields.layout());
  for (const uint64_t address : structOpsPrograms(fields, map.address)) {
    if (const auto program = objects.program(address)) names[program->id] = program->name;
  }
  for (uint64_t at = *data - *own; at + 8 <= std::min<uint64_t>(map.valueSize, maxBytes); at += 8) {
    const auto address = fields.kernel().read<uint64_t>(*own + at),
               id = fields.kernel().read<uint64_t>(*users + at);
    const auto name = id ? names.find(*id) : names.end();
    if (address && name != names.end() && *address != *id) functions[*address] = name->second;
  }
  return functions;
}

ProgramTypes readStructOpsTypes(const KernelFields& fields, const BpfMap& map) {
  const auto btf = fields.get<uint64_t>(map.address, "bpf_struct_ops_map.btf");
  if (!btf) return {nullptr, fields.layout().whyAbsent("bpf_struct_ops_map.btf")};
  if (fields.get<uint64_t>(*btf, "btf.base_btf").value_or(0) != 0)
    return {nullptr, "its types are a module's"};
  try {
    return {std::make_unique<BtfTypes>(readKernelTypes(fields.kernel())), {}};
  } catch (const Error& error) {
    return {nullptr, error.message()};
  }
}

}  // namespace ktstr
