#include "monitor/kernel_layout.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "protocol/text.h"

namespace ktstr {
namespace {

enum class Need {
  always,  // its absence is worth a word with every attachment
  asked    // only whoever asks for it says that it is absent: it has alternatives, or serves a tool alone
};

struct Wanted {
  const char* type;
  const char* path;  // "*": all members; "#m": no member but the size of the struct, of those with a member m
  Need need = Need::always;
};

constexpr Wanted wantedMembers[] = {
    {"rq", "nr_running"},
    {"rq", "clock"},
    {"rq", "curr"},  // in a union with donor since af0c8b2bf67b (Linux 6.13) without CONFIG_SCHED_PROXY_EXEC
    {"rq", "cpu"},
    {"rq", "scx.nr_running"},
    {"rq", "scx.flags"},
    {"rq", "scx.local_dsq.nr"},
    {"task_struct", "pid"},
    {"task_struct", "comm"},
    {"task_struct", "thread_info.flags"},
    {"scx_sched", "ops.name"},  // struct scx_sched since 48e126777386 (Linux 6.16)
    // Groups of a runqueue's members, runqueue_groups.h.
    {"rq", "yld_count", Need::asked},
    {"rq", "sched_count", Need::asked},
    {"rq", "sched_goidle", Need::asked},
    {"rq", "ttwu_count", Need::asked},
    {"rq", "ttwu_local", Need::asked},
    {"rq", "rq_sched_info.run_delay", Need::asked},
    {"rq", "rq_sched_info.pcount", Need::asked},
    {"rq", "rq_cpu_time", Need::asked},
    {"rq", "cfs.nr_queued", Need::asked},  // since Linux 6.14; before it:
    {"rq", "cfs.nr_running", Need::asked},
    {"rq", "cfs.h_nr_queued", Need::asked},  // since Linux 6.14; before it:
    {"rq", "cfs.h_nr_running", Need::asked},
    {"rq", "cfs.load.weight", Need::asked},
    {"rq", "sd", Need::asked},
    // Scheduling domains: sched_domains.h.
    {"sched_domain", "parent", Need::asked},
    {"sched_domain", "level", Need::asked},
    {"sched_domain", "name", Need::asked},
    {"sched_domain", "flags", Need::asked},
    {"sched_domain", "span_weight", Need::asked},
    {"sched_domain", "balance_interval", Need::asked},
    {"sched_domain", "nr_balance_failed", Need::asked},
    {"sched_domain", "max_newidle_lb_cost", Need::asked},
    {"sched_domain", "lb_count", Need::asked},
    {"sched_domain", "lb_failed", Need::asked},
    {"sched_domain", "ttwu_move_affine", Need::asked},
    {"sched_domain", "*", Need::asked},
    // The attached scheduler's programs: scx_programs.h.
    {"scx_sched", "ops.select_cpu", Need::asked},
    {"scx_sched", "ops.dispatch_max_batch", Need::asked},
    // Event counters: one of three places, see scx_events.h.
    {"scx_event_stats", "*", Need::asked},
    {"scx_sched", "watchdog_timeout", Need::asked},
    {"scx_sched", "pcpu", Need::asked},
    {"scx_sched_pcpu", "event_stats", Need::asked},
    {"scx_sched", "event_stats_cpu", Need::asked},
    // What a dump shows of the scheduler: dump_scheduler.cc.
    {"scx_sched", "ops.flags", Need::asked},
    {"scx_sched", "aborting", Need::asked},
    {"scx_sched", "bypass_depth", Need::asked},
    {"scx_sched", "exit_kind", Need::asked},
    {"scx_sched", "exit_info", Need::asked},
    {"scx_exit_info", "kind", Need::asked},
    {"scx_exit_info", "exit_code", Need::asked},
    {"scx_exit_info", "exit_cpu", Need::asked},
    {"scx_exit_info", "reason", Need::asked},
    {"scx_exit_info", "msg", Need::asked},
    {"scx_exit_info", "bt", Need::asked},
    {"scx_exit_info", "bt_len", Need::asked},
    {"scx_exit_info", "dump", Need::asked},
    {"clocksource", "mult", Need::asked},
    {"clocksource", "shift", Need::asked},
    // Its sub-schedulers: dump_hierarchy.cc.
    {"scx_sched", "all", Need::asked},
    {"scx_sched", "level", Need::asked},
    {"scx_sched", "ancestors", Need::asked},
    {"scx_sched", "cgrp_path", Need::asked},
    // Its queues: dump_dsqs.cc, guest_rhashtable.h.
    {"scx_sched", "dsq_hash", Need::asked},
    {"scx_sched", "global_dsqs", Need::asked},
    {"scx_sched", "pnode", Need::asked},
    {"scx_sched_pnode", "global_dsq", Need::asked},
    {"scx_sched_pcpu", "bypass_dsq", Need::asked},
    {"scx_dispatch_q", "list", Need::asked},
    {"scx_dispatch_q", "nr", Need::asked},
    {"scx_dispatch_q", "seq", Need::asked},
    {"scx_dispatch_q", "id", Need::asked},
    {"scx_dispatch_q", "hash_node", Need::asked},
    {"scx_dsq_list_node", "node", Need::asked},
    {"scx_dsq_list_node", "flags", Need::asked},
    {"rhashtable", "tbl", Need::asked},
    {"bucket_table", "size", Need::asked},
    {"bucket_table", "nest", Need::asked},
    {"bucket_table", "future_tbl", Need::asked},
    {"bucket_table", "buckets", Need::asked},
    // Its CPUs and tasks: dump_cpus.cc, dump_tasks.cc.
    {"rq", "scx.local_dsq", Need::asked},
    {"rq", "scx.runnable_list", Need::asked},
    {"rq", "scx.cpu_released", Need::asked},
    {"rq", "scx.cpus_to_kick", Need::asked},
    {"scx_sched_pcpu", "cpus_to_kick", Need::asked},
    {"task_struct", "policy", Need::asked},
    {"task_struct", "cpus_ptr", Need::asked},
    {"task_struct", "cgroups", Need::asked},
    {"task_struct", "se.sum_exec_runtime", Need::asked},
    {"task_struct", "scx.dsq", Need::asked},
    {"task_struct", "scx.dsq_list.node", Need::asked},
    {"task_struct", "scx.runnable_node", Need::asked},
    {"task_struct", "scx.runnable_at", Need::asked},
    {"task_struct", "scx.sticky_cpu", Need::asked},
    {"task_struct", "scx.holding_cpu", Need::asked},
    {"task_struct", "scx.disallow", Need::asked},
    // Its cgroups: dump_cgroups.cc.
    {"css_set", "dfl_cgrp", Need::asked},
    {"cgroup", "kn", Need::asked},
    {"kernfs_node", "name", Need::asked},
    {"kernfs_node", "id", Need::asked},
    {"kernfs_node", "__parent", Need::asked},
    {"kernfs_node", "parent", Need::asked},
    {"task_group", "list", Need::asked},
    {"task_group", "css.cgroup", Need::asked},
    {"task_group", "scx_weight", Need::asked},
    {"task_group", "scx_flags", Need::asked},
    {"task_group", "scx.weight", Need::asked},
    {"task_group", "scx.flags", Need::asked},
    // Its maps: dump_maps.cc, struct_ops.h.
    {"bpf_struct_ops_map", "kvalue", Need::asked},
    {"bpf_struct_ops_map", "kvalue.data", Need::asked},
    {"bpf_struct_ops_map", "uvalue", Need::asked},
    {"bpf_struct_ops_map", "btf", Need::asked},
    {"bpf_struct_ops_map", "links", Need::asked},
    {"bpf_struct_ops_map", "funcs_cnt", Need::asked},
    {"bpf_link", "prog", Need::asked},
    {"bpf_prog_aux", "ksym.name", Need::asked},
    {"bpf_prog_aux", "arena", Need::asked},
    {"bpf_prog_aux", "used_maps", Need::asked},
    {"bpf_prog_aux", "used_map_cnt", Need::asked},
    {"sched_ext_ops", "priv", Need::asked},
    // Data structures: guest_xarray.h, guest_rbtree.h.
    {"idr", "idr_rt", Need::asked},
    {"idr", "idr_base", Need::asked},
    {"xarray", "xa_head", Need::asked},
    {"xa_node", "shift", Need::asked},
    {"xa_node", "slots", Need::asked},
    {"rb_node", "rb_left", Need::asked},
    {"rb_node", "rb_right", Need::asked},
    // BPF maps and programs: bpf_objects.h, bpf_values.h, local_storage.h.
    {"bpf_map", "id", Need::asked},
    {"bpf_map", "name", Need::asked},
    {"bpf_map", "map_type", Need::asked},
    {"bpf_map", "key_size", Need::asked},
    {"bpf_map", "value_size", Need::asked},
    {"bpf_map", "max_entries", Need::asked},
    {"bpf_map", "map_flags", Need::asked},
    {"bpf_map", "frozen", Need::asked},
    {"bpf_map", "btf", Need::asked},
    {"bpf_map", "btf_key_type_id", Need::asked},
    {"bpf_map", "btf_value_type_id", Need::asked},
    {"bpf_map", "btf_vmlinux_value_type_id", Need::asked},
    {"bpf_array", "value", Need::asked},
    {"bpf_array", "pptrs", Need::asked},
    {"bpf_array", "elem_size", Need::asked},
    {"bpf_arena", "kern_vm", Need::asked},
    {"bpf_arena", "user_vm_start", Need::asked},
    {"bpf_arena", "scratch_page", Need::asked},
    {"page", "#flags", Need::asked},
    {"vm_struct", "addr", Need::asked},
    {"bpf_ringbuf_map", "rb", Need::asked},
    {"bpf_ringbuf", "mask", Need::asked},
    {"bpf_ringbuf", "consumer_pos", Need::asked},
    {"bpf_ringbuf", "producer_pos", Need::asked},
    {"bpf_ringbuf", "overwrite_pos", Need::asked},
    {"bpf_ringbuf", "data", Need::asked},
    {"bpf_htab", "buckets", Need::asked},
    {"bpf_htab", "n_buckets", Need::asked},
    {"bucket", "head", Need::asked},
    {"bucket", "#head", Need::asked},
    {"htab_elem", "key", Need::asked},
    {"bpf_local_storage_map", "buckets", Need::asked},
    {"bpf_local_storage_map", "bucket_log", Need::asked},
    {"bpf_local_storage_map_bucket", "list", Need::asked},
    {"bpf_local_storage_map_bucket", "#list", Need::asked},
    {"bpf_local_storage_elem", "map_node", Need::asked},
    {"bpf_local_storage_elem", "local_storage", Need::asked},
    {"bpf_local_storage_elem", "sdata", Need::asked},
    {"bpf_local_storage_data", "smap", Need::asked},
    {"bpf_local_storage_data", "data", Need::asked},
    {"bpf_local_storage", "owner", Need::asked},
    {"bpf_prog", "type", Need::asked},
    {"bpf_prog", "aux", Need::asked},
    {"bpf_prog", "stats", Need::asked},
    {"bpf_prog_aux", "id", Need::asked},
    {"bpf_prog_aux", "name", Need::asked},
    {"bpf_prog_aux", "verified_insns", Need::asked},
    {"bpf_prog_aux", "btf", Need::asked},
    {"bpf_prog_stats", "cnt", Need::asked},
    {"bpf_prog_stats", "nsecs", Need::asked},
    {"bpf_prog_stats", "misses", Need::asked},
    {"btf", "data", Need::asked},
    {"btf", "data_size", Need::asked},
    {"btf", "base_btf", Need::asked},
    // Tasks: task_list.h.
    {"task_struct", "tasks", Need::asked},
    {"task_struct", "thread_node", Need::asked},
    {"task_struct", "signal", Need::asked},
    {"task_struct", "tgid", Need::asked},
    {"task_struct", "__state", Need::asked},
    {"task_struct", "exit_state", Need::asked},
    {"task_struct", "prio", Need::asked},
    {"task_struct", "thread_info.cpu", Need::asked},
    {"task_struct", "real_parent", Need::asked},
    {"task_struct", "sched_class", Need::asked},
    {"task_struct", "scx.weight", Need::asked},
    {"task_struct", "scx.slice", Need::asked},
    {"task_struct", "scx.dsq_vtime", Need::asked},
    {"task_struct", "scx.flags", Need::asked},
    {"signal_struct", "thread_head", Need::asked},
};

constexpr std::string_view everyMember = "*";

// Enumerators are known by the end of their name: SCX_ENABLED, before 6.16 SCX_OPS_ENABLED.
constexpr const char* wantedEnum = "scx_enable_state";
constexpr const char* wantedStates[] = {"enabling", "enabled", "disabling", "disabled"};
// Others are known whole, by their full names.
constexpr const char* wholeEnums[] = {"scx_exit_kind", "scx_rq_flags", "scx_ent_flags", "scx_task_state"};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<int64_t> findState(const std::vector<Enumerator>& enumerators, const std::string& state) {
  for (const auto& enumerator : enumerators) {
    if (lower(enumerator.name).ends_with("_" + state)) return enumerator.value;
  }
  return std::nullopt;
}

// As those of the kernel are; a stored layout bears nothing else.
bool isEnumerator(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

// Takes the text up to the next separator off the front.
std::string_view take(std::string_view& rest, char separator) {
  const auto part = rest.substr(0, rest.find(separator));
  rest.remove_prefix(std::min(rest.size(), part.size() + 1));
  return part;
}

template <typename T>
std::optional<T> number(std::string_view digits) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool onlyWhenAsked(std::string_view name) {
  return std::any_of(std::begin(wantedMembers), std::end(wantedMembers), [&](const Wanted& wanted) {
    return wanted.need == Need::asked && name == text(wanted.type, ".", wanted.path);
  });
}

template <typename Map>
auto findIn(const Map& map, std::string_view name) -> std::optional<typename Map::mapped_type> {
  const auto at = map.find(name);
  return at == map.end() ? std::nullopt : std::optional(at->second);
}

}  // namespace

KernelLayout KernelLayout::fromBtf(BtfTypes types) {
  std::vector<std::string> names{wantedEnum};
  names.insert(names.end(), std::begin(wholeEnums), std::end(wholeEnums));
  for (const auto& wanted : wantedMembers) names.push_back(wanted.type);
  types.lookUp(names);
  KernelLayout layout;
  for (const auto& wanted : wantedMembers) {
    const auto name = text(wanted.type, ".", wanted.path);
    if (wanted.path == everyMember) {
      for (auto& [member, field] : types.members(wanted.type))
        layout.members_[text(wanted.type, ".", member)] = field;
      continue;
    }
    const auto result = *wanted.path == '#' ? types.sizeWith(wanted.type, wanted.path + 1)
                                            : types.member(wanted.type, wanted.path);
    if (result.field) {
      layout.members_[name] = *result.field;
    } else {
      layout.absent_[name] = result.problem;
    }
  }
  const auto enumerators = types.enumerators(wantedEnum);
  for (const auto state : wantedStates) {
    const auto name = text(wantedEnum, ".", state);
    if (const auto value = findState(enumerators, state)) {
      layout.constants_[name] = *value;
    } else {
      layout.absent_[name] = enumerators.empty() ? text("no enum ", wantedEnum) : "no such enumerator";
    }
  }
  for (const auto whole : wholeEnums) {
    for (const auto& [name, value] : types.enumerators(whole)) {
      if (isEnumerator(name)) layout.constants_[text(whole, ".", name)] = value;
    }
  }
  return layout;
}

std::string KernelLayout::toText() const {
  std::string lines;
  for (const auto& [name, field] : members_)
    lines += text("member ", name, " ", field.offset, " ", field.size, "\n");
  for (const auto& [name, value] : constants_) lines += text("constant ", name, " ", value, "\n");
  for (const auto& [name, why] : absent_) lines += text("absent ", name, " ", why, "\n");
  return lines;
}

std::optional<KernelLayout> KernelLayout::fromText(std::string_view lines) {
  constexpr size_t maxBytes = 64 * 1024;
  if (lines.size() > maxBytes) return std::nullopt;
  KernelLayout layout;
  while (!lines.empty()) {
    auto line = take(lines, '\n');
    const auto kind = take(line, ' ');
    const std::string name(take(line, ' '));
    if (kind == "member") {
      const auto offset = number<uint32_t>(take(line, ' '));
      const auto size = number<uint32_t>(line);
      if (!offset || !size || *offset > 1 << 20 || *size > 1 << 20) return std::nullopt;
      layout.members_[name] = {*offset, *size};
    } else if (kind == "constant") {
      const auto value = number<int64_t>(line);
      if (!value) return std::nullopt;
      layout.constants_[name] = *value;
    } else if (kind == "absent") {
      layout.absent_[name] = line;
    } else {
      return std::nullopt;
    }
  }
  return layout;
}

uint64_t KernelLayout::tag() {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  const auto mix = [&](std::string_view part) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3;
    hash *= 0x100'0000'01b3;
  };
  for (const auto& wanted : wantedMembers) mix(wanted.type), mix(wanted.path);
  for (const auto state : wantedStates) mix(state);
  for (const auto whole : wholeEnums) mix(whole);
  return hash;
}

std::optional<Field> KernelLayout::member(std::string_view name) const {
  return findIn(members_, name);
}
std::optional<int64_t> KernelLayout::constant(std::string_view name) const {
  return findIn(constants_, name);
}

std::vector<NamedField> KernelLayout::members(std::string_view structName) const {
  const auto prefix = text(structName, ".");
  std::vector<NamedField> list;
  for (auto at = members_.lower_bound(prefix); at != members_.end() && at->first.starts_with(prefix); ++at)
    list.push_back({at->first.substr(prefix.size()), at->second});
  std::stable_sort(list.begin(), list.end(),
                   [](auto& a, auto& b) { return a.field.offset < b.field.offset; });
  return list;
}

std::vector<Enumerator> KernelLayout::enumerators(std::string_view enumName) const {
  const auto prefix = text(enumName, ".");
  std::vector<Enumerator> list;
  for (auto at = constants_.lower_bound(prefix); at != constants_.end() && at->first.starts_with(prefix);
       ++at)
    list.push_back({at->first.substr(prefix.size()), at->second});
  std::stable_sort(list.begin(), list.end(), [](auto& a, auto& b) { return a.value < b.value; });
  return list;
}

std::vector<std::string> KernelLayout::absent() const {
  std::vector<std::string> list;
  for (const auto& [name, why] : absent_) {
    if (!onlyWhenAsked(name)) list.push_back(text(name, ": ", why));
  }
  return list;
}

std::string KernelLayout::whyAbsent(std::string_view name) const {
  return text(name, ": ", findIn(absent_, name).value_or("not looked for"));
}

}  // namespace ktstr
