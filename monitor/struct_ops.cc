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

namespace {

// The kernel keeps 15 characters of a program's name, but all in the symbol it gives its code
// (bpf_get_prog_name()): bpf_prog_, the program's tag as 16 hex digits, _, the name.
std::string fullName(const KernelFields& fields, const BpfProgram& program) {
  constexpr size_t before = sizeof "bpf_prog_0123456789abcdef_" - 1;
  const auto aux = fields.get<uint64_t>(program.address, "bpf_prog.aux").value_or(0);
  const std::string symbol = aux ? fields.chars(aux, "bpf_prog_aux.ksym.name") : "";
  const bool isIt = symbol.size() > before && symbol.compare(before, program.name.size(), program.name) == 0;
  return isIt ? symbol.substr(before) : program.name;
}

}  // namespace

std::map<uint64_t, std::string> structOpsFunctions(const KernelFields& fields, const BpfMap& map) {
  constexpr uint64_t maxBytes = 64 * 1024;
  const auto own = fields.at(map.address, "bpf_struct_ops_map.kvalue"),
             data = fields.at(map.address, "bpf_struct_ops_map.kvalue.data");
  const auto users = fields.get<uint64_t>(map.address, "bpf_struct_ops_map.uvalue");
  std::map<uint64_t, std::string> names, functions;
  if (!own || !data || !users) return functions;
  const BpfObjects objects(fields.kernel(), fields.layout());
  for (const uint64_t address : structOpsPrograms(fields, map.address)) {
    if (const auto program = objects.program(address)) names[program->id] = fullName(fields, *program);
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
