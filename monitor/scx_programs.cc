#include "monitor/scx_programs.h"

#include <linux/bpf.h>
#include <algorithm>

#include "monitor/struct_ops.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned maxAttempts = 16;                           // at finding one scheduler's programs
constexpr const char* needed[] = {"scx_sched.ops.select_cpu",  // the first function of struct sched_ext_ops
                                  "scx_sched.ops.dispatch_max_batch",  // behind the last one
                                  "bpf_struct_ops_map.kvalue.data",
                                  "bpf_struct_ops_map.links",
                                  "bpf_struct_ops_map.funcs_cnt",
                                  "bpf_link.prog",
                                  "bpf_prog.aux",
                                  "bpf_prog.stats",
                                  "bpf_prog_aux.id",
                                  "bpf_prog_stats.cnt",
                                  "bpf_prog_stats.nsecs",
                                  "bpf_prog_stats.misses"};

}  // namespace

ScxPrograms::ScxPrograms(const GuestKernel& kernel, const KernelLayout& layout)
    : kernel_(kernel), layout_(layout), objects_(kernel, layout), cpus_(kernel.possibleCpus()) {
  for (const auto* name : needed) {
    if (absent_.empty() && !layout_.member(name)) absent_ = text("programs: ", layout_.whyAbsent(name));
  }
  for (const auto* name : {"scx_root", "map_idr"}) {
    if (absent_.empty() && !kernel_.symbol(name)) absent_ = text("programs: no symbol ", name);
  }
}

void ScxPrograms::sample(rpc::Sample::Builder out) {
  const auto now = scheduler();
  if (!now) return;
  if (!known(*now)) find(*now);
  const auto runs = layout_.member("bpf_prog_stats.cnt")->offset,
             nanos = layout_.member("bpf_prog_stats.nsecs")->offset,
             misses = layout_.member("bpf_prog_stats.misses")->offset;
  if (programs_.empty() && attempts_ == maxAttempts)
    out.setIncomplete(text("progs: no struct_ops map with the functions of the scheduler at ", hex(*now),
                           " in ", maxAttempts, " samples"));
  auto list = out.initProgs(static_cast<unsigned>(programs_.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    uint64_t sums[3] = {};
    for (const auto* stats : programs_[i].stats) {
      sums[0] += loadGuest<uint64_t>(stats + runs);
      sums[1] += loadGuest<uint64_t>(stats + nanos);
      sums[2] += loadGuest<uint64_t>(stats + misses);
    }
    list[i].setId(programs_[i].id);
    list[i].setName(programs_[i].name);
    list[i].setRuns(sums[0]);
    list[i].setNanos(sums[1]);
    list[i].setMisses(sums[2]);
  }
  if (scheduler() != now || !known(*now)) out.initProgs(0);
}

std::optional<uint64_t> ScxPrograms::scheduler() const {
  if (!absent_.empty()) return std::nullopt;
  const auto root = kernel_.readSymbol<uint64_t>("scx_root");
  return root && *root != 0 ? root : std::nullopt;
}

bool ScxPrograms::known(uint64_t scheduler) const {
  return scheduler == found_ && (!programs_.empty() || attempts_ == maxAttempts) &&
         std::all_of(programs_.begin(), programs_.end(), [](auto& program) { return program.isThere(); });
}

void ScxPrograms::find(uint64_t scheduler) {
  programs_.clear();
  attempts_ = scheduler == found_ ? attempts_ + 1 : 1;
  found_ = scheduler;
  const auto first = layout_.member("scx_sched.ops.select_cpu"),
             behind = layout_.member("scx_sched.ops.dispatch_max_batch");
  if (behind->offset <= first->offset) return;
  std::vector<std::byte> functions(behind->offset - first->offset);
  if (!kernel_.copy(scheduler + first->offset, functions)) return;
  for (const auto& map : objects_.maps().found) {
    if (map.type == BPF_MAP_TYPE_STRUCT_OPS && hasFunctions(map.address, functions))
      return addProgramsOf(map.address);
  }
}

// The kernel copies a scheduler's functions out of its map: addresses of trampolines that no other map has.
bool ScxPrograms::hasFunctions(uint64_t structOpsMap, const std::vector<std::byte>& functions) const {
  std::vector<std::byte> own(functions.size());
  const auto value = layout_.member("bpf_struct_ops_map.kvalue.data");
  const bool any =
      std::any_of(functions.begin(), functions.end(), [](std::byte b) { return b != std::byte{0}; });
  return any && kernel_.copy(structOpsMap + value->offset, own) && own == functions;
}

void ScxPrograms::addProgramsOf(uint64_t structOpsMap) {
  for (const uint64_t address : structOpsPrograms(KernelFields(kernel_, layout_), structOpsMap)) {
    auto found = program(address);
    const bool twice = found && std::any_of(programs_.begin(), programs_.end(),
                                            [&](const Program& known) { return known.id == found->id; });
    if (found && !twice) programs_.push_back(std::move(*found));
  }
}

std::optional<ScxPrograms::Program> ScxPrograms::program(uint64_t address) const {
  const auto aux = kernel_.read<uint64_t>(address + layout_.member("bpf_prog.aux")->offset);
  const auto stats = kernel_.read<uint64_t>(address + layout_.member("bpf_prog.stats")->offset);
  const auto seen = objects_.program(address);
  if (!aux || !stats || !seen) return std::nullopt;
  Program program{seen->id, seen->name, kernel_.at(*aux + layout_.member("bpf_prog_aux.id")->offset, 4)};
  if (!program.idAt) return std::nullopt;
  const uint64_t bytes = layout_.member("bpf_prog_stats.misses")->offset + 8;
  for (const uint32_t cpu : cpus_) {
    const auto own = kernel_.perCpu(*stats, cpu);
    if (const auto* const at = own ? kernel_.at(*own, bytes) : nullptr) program.stats.push_back(at);
  }
  return program;
}

}  // namespace ktstr
