#include "monitor/struct_ops.h"

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

}  // namespace ktstr
