#include "monitor/support.h"

#include <sstream>

#include "protocol/text.h"

namespace ktstr {
namespace {

// A way to read a feature. Consecutive rows of one feature are alternatives: the first that a kernel has
// counts.
struct Way {
  const char* feature;
  const char* place;  // in a few words
  const char* needs;  // symbols, struct.members and enum:names, all of them
};

constexpr Way ways[] = {
    {"runqueues", "rq", "runqueues __per_cpu_offset rq.nr_running rq.curr rq.clock rq.scx.nr_running"},
    {"tasks", "init_task",
     "init_task task_struct.tasks task_struct.thread_node signal_struct.thread_head "
     "task_struct.scx.dsq_vtime"},
    {"scheduler state", "scx_root", "scx_root scx_enable_state_var enum:scx_enable_state scx_sched.ops.name"},
    {"exit information", "scx_sched.exit_info",
     "scx_root scx_sched.exit_info scx_exit_info.kind scx_exit_info.reason scx_exit_info.msg "
     "scx_exit_info.bt "
     "scx_exit_info.dump"},
    {"CPU of the exit", "scx_exit_info.exit_cpu", "scx_root scx_sched.exit_info scx_exit_info.exit_cpu"},
    {"aborting, bypass depth", "scx_sched", "scx_root scx_sched.aborting scx_sched.bypass_depth"},
    {"sub-schedulers", "scx_sched_all",
     "scx_sched_all scx_sched.all scx_sched.level scx_sched.ancestors scx_sched.cgrp_path"},
    {"event counters", "scx_sched_pcpu.event_stats", "scx_root scx_sched.pcpu scx_sched_pcpu.event_stats"},
    {"event counters", "scx_sched.event_stats_cpu", "scx_root scx_sched.event_stats_cpu"},
    {"event counters", "event_stats_cpu", "event_stats_cpu"},
    {"local DSQs", "scx_rq.local_dsq", "runqueues rq.scx.local_dsq scx_dispatch_q.list scx_dispatch_q.nr"},
    {"global DSQs", "scx_sched_pnode.global_dsq", "scx_root scx_sched.pnode scx_sched_pnode.global_dsq"},
    {"global DSQs", "scx_sched.global_dsqs", "scx_root scx_sched.global_dsqs"},
    {"user DSQs", "scx_sched.dsq_hash",
     "scx_root scx_sched.dsq_hash scx_dispatch_q.hash_node scx_dispatch_q.id rhashtable.tbl"},
    {"bypass DSQs", "scx_sched_pcpu.bypass_dsq", "scx_root scx_sched.pcpu scx_sched_pcpu.bypass_dsq"},
    {"runnable tasks of a CPU", "scx_rq.runnable_list", "runqueues rq.scx.runnable_list"},
    {"cgroup weights", "task_group.scx.weight", "task_groups task_group.scx.weight"},
    {"cgroup weights", "task_group.scx_weight", "task_groups task_group.scx_weight"},
    {"schedstat", "rq.rq_sched_info",
     "runqueues rq.rq_sched_info rq.yld_count rq.sched_count rq.sched_goidle rq.ttwu_count rq.ttwu_local"},
    {"sched_domains", "rq.sd", "runqueues rq.sd sched_domain.parent sched_domain.level sched_domain.flags"},
    {"sched_domain statistics", "sched_domain.lb_count", "sched_domain.lb_count sched_domain.alb_count"},
    {"newidle ratio", "sched_domain.newidle_ratio",
     "sched_domain.newidle_call sched_domain.newidle_success sched_domain.newidle_ratio"},
    {"BPF maps", "map_idr", "map_idr bpf_map.id bpf_map.map_type bpf_map.btf"},
    {"local storage of maps", "bpf_local_storage_map.buckets",
     "bpf_local_storage_map.buckets bpf_local_storage_map.bucket_log bpf_local_storage_map_bucket.list "
     "bpf_local_storage_elem.map_node bpf_local_storage_elem.local_storage bpf_local_storage_elem.sdata "
     "bpf_local_storage_data.smap bpf_local_storage.owner"},
    {"BPF programs", "prog_idr", "prog_idr bpf_prog.aux bpf_prog_aux.id"},
    {"BPF run statistics", "bpf_prog.stats",
     "prog_idr bpf_prog.stats bpf_prog_stats.cnt bpf_prog_stats.nsecs"},
    {"watchdog timeout", "scx_sched.watchdog_timeout", "scx_root scx_sched.watchdog_timeout"},
    {"watchdog timeout", "scx_watchdog_timeout", "scx_watchdog_timeout"},
    {"ELF vmcore", "vmcoreinfo_data", "vmcoreinfo_data vmcoreinfo_size"},
};

// What is missing, "" if it is there.
std::string whyMissing(const GuestKernel& kernel, const BtfTypes& types, const std::string& need) {
  constexpr std::string_view isEnum = "enum:";
  if (need.starts_with(isEnum)) {
    const auto name = need.substr(isEnum.size());
    return types.enumerators(name).empty() ? text("no enum ", name) : "";
  }
  const auto dot = need.find('.');
  if (dot == std::string::npos) return kernel.symbol(need) ? "" : text("no symbol ", need);
  const auto result = types.member(need.substr(0, dot), need.substr(dot + 1));
  return result.field ? "" : text("no member ", need);
}

void lookUpTypes(BtfTypes& types) {
  std::vector<std::string> names;
  for (const auto& way : ways) {
    std::istringstream needs(way.needs);
    for (std::string need; needs >> need;) {
      if (const auto dot = need.find('.'); dot != std::string::npos) names.push_back(need.substr(0, dot));
    }
  }
  types.lookUp(names);
}

}  // namespace

std::vector<Support> supportOf(const GuestKernel& kernel, BtfTypes& types) {
  lookUpTypes(types);
  std::vector<Support> all;
  for (const auto& way : ways) {
    if (all.empty() || all.back().feature != way.feature) all.push_back({way.feature, false, {}, {}});
    auto& support = all.back();
    if (support.available) continue;
    std::string missing;
    std::istringstream needs(way.needs);
    for (std::string need; needs >> need;) {
      const auto why = whyMissing(kernel, types, need);
      if (!why.empty()) missing += (missing.empty() ? "" : ", ") + why;
    }
    if (missing.empty()) {
      support = {way.feature, true, way.place, {}};
    } else {
      support.missing += (support.missing.empty() ? "" : "; ") + missing;
    }
  }
  return all;
}

}  // namespace ktstr
