// For tests: a kernel's memory with sched_ext, made by hand: a scheduler, its DSQs, two CPUs, tasks.
#pragma once

#include <memory>

#include "monitor/attach.h"
#include "monitor/crafted_kernel.h"

namespace ktstr::test {

class CraftedScx {
 protected:
  static constexpr uint64_t schedulerGpa = 0x2000, schedHash = 0x80, buckets = 0x3000, exitInfo = 0x3800,
                            globalArray = 0x3c00, globalDsq = 0x3d00;
  static constexpr uint64_t hierarchyHead = 0x168, allNode = 0x98, schedLevel = 0xa8;
  static constexpr uint64_t dsqList = 0, dsqHashNode = 32, rqScxFlags = 84;

  // `more`: symbols, and members of the layout.
  explicit CraftedScx(const std::map<std::string, uint64_t>& more = {}, const std::string& members = {})
      : guest_(0x8000, with(more)), layout_(KernelLayout::fromText(layout + members).value()) {
    prepare();
    useLayout(layout_);
  }

  void useLayout(const KernelLayout& other) {
    SymbolStorage none;
    none.nameOffsets = {0};
    none.index();
    Analysis::Facts facts;
    facts.layout = other;
    attachment_.analysis = std::make_unique<Analysis>(std::move(none), std::move(facts));
    attachment_.kernel = std::make_unique<GuestKernel>(guest_.kernel());
  }

  // What the kernel is found by: symbols' values, the global DSQ, the lists' ends.
  void prepare() {
    guest_.put<uint64_t>(0x108, 3);                                     // __cpu_possible_mask
    guest_.put<uint32_t>(0x110, 2);                                     // nr_cpu_ids
    guest_.put<uint64_t>(0x118, CraftedKernel::va(0) - kernelMapBase);  // __per_cpu_offset
    guest_.put<uint64_t>(0x120, CraftedKernel::va(0x1000) - kernelMapBase);
    guest_.put<uint64_t>(0x128, 4294937296);  // jiffies_64
    guest_.put<uint32_t>(0x130, 3);           // scx_enable_state_var
    guest_.put<uint64_t>(rootGpa(), 0);
    guest_.put<uint32_t>(0x140, 4'000'000u << 8);  // clocksource_jiffies
    guest_.put<uint32_t>(0x144, 8);
    guest_.put<uint32_t>(0x150, 1);  // nr_node_ids
    for (const uint32_t cpu : {0u, 1u}) {
      emptyDsq(localDsq(cpu), 0x8000'0000'0000'0002);
      emptyList(rq(cpu) + 96);
    }
    emptyList(0x158);  // task_groups
    guest_.put<uint64_t>(hierarchyHead, symbolVa("scx_sched_all"));
    emptyList(0x180 + 64);  // init_task.tasks
  }

  void attach(std::string_view name) {
    guest_.put<uint32_t>(0x130, 1);
    guest_.point(rootGpa(), schedulerGpa);
    guest_.putBytes(schedulerGpa, std::string(name) + '\0');
    guest_.put<int32_t>(schedulerGpa + 0x60, 1);      // bypass_depth
    guest_.put<uint64_t>(schedulerGpa + 0x68, 1250);  // watchdog_timeout
    guest_.point(schedulerGpa + 0x78, exitInfo);
    guest_.point(schedulerGpa + 0x88, globalArray);
    guest_.point(globalArray, globalDsq);
    inHierarchy({schedulerGpa});
    emptyDsq(globalDsq, 0x8000'0000'0000'0001);
    hash({});
  }
  // All of scx_sched_all, each below the one before.
  void inHierarchy(const std::vector<uint64_t>& schedulers) {
    uint64_t at = hierarchyHead;
    for (size_t i = 0; i < schedulers.size(); ++i) {
      const uint64_t own = schedulers[i];
      guest_.point(at, own + allNode), at = own + allNode;
      guest_.put<int32_t>(own + schedLevel, static_cast<int32_t>(i));
      guest_.point(own + 0xb0, own + 0x180);  // cgrp_path
      guest_.putBytes(own + 0x180, std::string("/slice", i == 0 ? 1 : 6) + '\0');
      for (size_t j = 0; j <= i; ++j) guest_.point(own + 0xb8 + 8 * j, schedulers[j]);
    }
    guest_.put<uint64_t>(at, symbolVa("scx_sched_all"));
  }
  void exitWith(int32_t kind, std::string_view reason, std::string_view message,
                const std::vector<uint64_t>& trace) {
    guest_.put<int32_t>(exitInfo, kind);
    guest_.point(exitInfo + 8, exitInfo + 0x100);
    guest_.point(exitInfo + 16, exitInfo + 0x200);
    guest_.point(exitInfo + 24, exitInfo + 0x300);
    guest_.put<uint32_t>(exitInfo + 32, static_cast<uint32_t>(trace.size()));
    guest_.put<uint64_t>(exitInfo + 40, 0);  // dump
    guest_.put<int64_t>(exitInfo + 48, 0);   // exit_code
    guest_.put<int32_t>(exitInfo + 56, 1);   // exit_cpu
    guest_.putBytes(exitInfo + 0x100, std::string(reason) + '\0');
    guest_.putBytes(exitInfo + 0x200, std::string(message) + '\0');
    for (size_t i = 0; i < trace.size(); ++i) guest_.put<uint64_t>(exitInfo + 0x300 + 8 * i, trace[i]);
  }
  // The scheduler's own: one bucket for each.
  void hash(const std::vector<uint64_t>& dsqs) {
    guest_.point(schedulerGpa + schedHash, buckets);
    guest_.put<uint32_t>(buckets, 4);
    guest_.put<uint32_t>(buckets + 4, 0);  // nest
    guest_.put<uint64_t>(buckets + 8, 0);  // future_tbl
    for (size_t i = 0; i < 4; ++i) {
      guest_.put<uint64_t>(buckets + 16 + 8 * i,
                           i < dsqs.size() ? CraftedKernel::va(dsqs[i] + dsqHashNode) : 0);
      if (i < dsqs.size()) guest_.put<uint64_t>(dsqs[i] + dsqHashNode, 2 * i + 1);  // the chain's end
    }
  }
  uint64_t dsq(uint64_t number, uint64_t id) {
    const uint64_t at = 0x4000 + number * 0x40;
    emptyDsq(at, id);
    return at;
  }
  void queue(uint64_t dsq, const std::vector<uint64_t>& nodes, uint32_t nr) {
    uint64_t at = dsq + dsqList;
    for (const uint64_t node : nodes) guest_.point(at, node), at = node;
    guest_.point(at, dsq + dsqList);
    guest_.put<uint32_t>(dsq + 16, nr);
  }
  void task(uint64_t number, int32_t pid, std::string_view comm) {
    guest_.put<int32_t>(taskGpa(number), pid);
    guest_.putBytes(taskGpa(number) + 8, std::string(comm) + '\0');
    guest_.put<uint32_t>(taskNode(number) + 16, 0);
  }
  uint64_t cursor() {
    guest_.put<uint32_t>(0x7000 + 16, 1);
    return 0x7000;
  }
  void run(uint32_t cpu, uint64_t number) {
    guest_.point(rq(cpu) + 8, taskGpa(number));
    guest_.put<uint32_t>(rq(cpu), 1);
  }
  static uint64_t taskGpa(uint64_t number) { return 0x5000 + number * 0x100; }
  static uint64_t taskNode(uint64_t number) { return taskGpa(number) + 32; }
  static uint64_t rq(uint32_t cpu) { return 0x800 + cpu * 0x1000; }
  static uint64_t localDsq(uint32_t cpu) { return rq(cpu) + 24; }
  static uint64_t rootGpa() { return 0x138; }
  static uint64_t symbolVa(const char* name) { return kernelMapBase + symbols().at(name); }
  const Attachment& attachment() { return attachment_; }

  static const std::map<std::string, uint64_t>& symbols() {
    static const std::map<std::string, uint64_t> all = {{"__cpu_possible_mask", 0x108},
                                                        {"nr_cpu_ids", 0x110},
                                                        {"__per_cpu_offset", 0x118},
                                                        {"jiffies_64", 0x128},
                                                        {"scx_enable_state_var", 0x130},
                                                        {"scx_root", 0x138},
                                                        {"clocksource_jiffies", 0x140},
                                                        {"nr_node_ids", 0x150},
                                                        {"task_groups", 0x158},
                                                        {"scx_sched_all", 0x168},
                                                        {"init_task", 0x180},
                                                        {"runqueues", 0x800}};
    return all;
  }

  static std::map<std::string, uint64_t> with(std::map<std::string, uint64_t> more) {
    more.insert(symbols().begin(), symbols().end());
    return more;
  }

  CraftedKernel guest_;
  KernelLayout layout_;

  static constexpr const char* layout =
      "member rq.scx.cpu_released 120 1\nmember rq.scx.cpus_to_kick 128 8\n"
      "member task_struct.scx.sticky_cpu 160 4\nmember task_struct.scx.holding_cpu 164 4\n"
      "member task_struct.scx.disallow 168 1\nmember task_struct.policy 172 4\n"
      "member task_struct.se.sum_exec_runtime 176 8\nmember task_struct.thread_info.cpu 184 4\n"
      "member task_struct.scx.weight 188 4\nmember task_struct.sched_class 192 8\n"
      "member task_struct.scx.slice 200 8\nmember task_struct.scx.dsq_vtime 208 8\n"
      "member task_struct.scx.runnable_at 216 8\nmember scx_sched.ops.flags 80 8\n"
      "member scx_sched.aborting 100 1\nmember scx_exit_info.exit_cpu 56 4\n"
      "member task_group.scx_weight 24 4\nmember task_group.scx_flags 28 4\nmember kernfs_node.id 16 8\n"
      "member rq.nr_running 0 4\nmember rq.curr 8 8\nmember rq.scx.local_dsq 24 40\nmember rq.scx.flags 84 "
      "4\n"
      "member rq.scx.nr_running 88 4\nmember rq.scx.runnable_list 96 16\nmember rq.clock 112 8\n"
      "member scx_dispatch_q.list 0 16\nmember scx_dispatch_q.nr 16 4\nmember scx_dispatch_q.seq 20 4\n"
      "member scx_dispatch_q.id 24 8\nmember scx_dispatch_q.hash_node 32 8\n"
      "member scx_dsq_list_node.node 0 16\nmember scx_dsq_list_node.flags 16 4\n"
      "member task_struct.pid 0 4\nmember task_struct.comm 8 16\nmember task_struct.scx.dsq_list.node 32 16\n"
      "member task_struct.tasks 64 16\nmember task_struct.thread_node 80 16\nmember task_struct.signal 96 8\n"
      "member task_struct.tgid 104 4\nmember task_struct.__state 108 4\nmember task_struct.scx.runnable_node "
      "112 16\n"
      "member signal_struct.thread_head 0 16\nmember task_struct.scx.flags 128 4\nmember task_struct.scx.dsq "
      "136 8\n"
      "member task_struct.cgroups 144 8\nmember css_set.dfl_cgrp 0 8\nmember cgroup.kn 0 8\n"
      "member kernfs_node.name 0 8\nmember kernfs_node.__parent 8 8\nmember task_struct.cpus_ptr 152 8\n"
      "member task_group.list 0 16\nmember task_group.css.cgroup 16 8\n"
      "member scx_sched.ops.name 0 64\nmember scx_sched.bypass_depth 96 4\nmember scx_sched.watchdog_timeout "
      "104 8\n"
      "member scx_sched.exit_kind 112 4\nmember scx_sched.exit_info 120 8\nmember scx_sched.dsq_hash 128 8\n"
      "member scx_sched.global_dsqs 136 8\nmember scx_sched.all 152 16\nmember scx_sched.level 168 4\n"
      "member scx_sched.cgrp_path 176 8\nmember scx_sched.ancestors 184 0\nmember rhashtable.tbl 0 8\nmember "
      "bucket_table.size 0 4\n"
      "member bucket_table.nest 4 4\nmember bucket_table.future_tbl 8 8\nmember bucket_table.buckets 16 0\n"
      "member scx_exit_info.kind 0 4\nmember scx_exit_info.reason 8 8\nmember scx_exit_info.msg 16 8\n"
      "member scx_exit_info.bt 24 8\nmember scx_exit_info.bt_len 32 4\nmember scx_exit_info.dump 40 8\n"
      "member scx_exit_info.exit_code 48 8\nmember clocksource.mult 0 4\nmember clocksource.shift 4 4\n"
      "constant scx_enable_state.enabled 1\nconstant scx_enable_state.disabled 3\n"
      "constant scx_exit_kind.SCX_EXIT_NONE 0\nconstant scx_exit_kind.SCX_EXIT_ERROR 1024\n"
      "constant scx_exit_kind.SCX_EXIT_ERROR_STALL 1026\n"
      "constant scx_rq_flags.SCX_RQ_ONLINE 1\nconstant scx_rq_flags.SCX_RQ_CLK_VALID 32\n";

 private:
  void emptyList(uint64_t head) { guest_.point(head, head); }
  void emptyDsq(uint64_t at, uint64_t id) {
    emptyList(at + dsqList);
    guest_.put<uint32_t>(at + 16, 0);
    guest_.put<uint32_t>(at + 20, 0);
    guest_.put<uint64_t>(at + 24, id);
  }

  Attachment attachment_;
};

}  // namespace ktstr::test
