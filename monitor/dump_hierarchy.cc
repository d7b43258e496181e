// The attached scheduler and its sub-schedulers, of kernels that have them (struct scx_sched, all of them on
// the list scx_sched_all).
#include "monitor/cgroup_path.h"
#include "monitor/dump_parts.h"
#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr const char* section = "scheduler.hierarchy";
constexpr int32_t maxLevel = 64;  // the kernel's own is SCX_SUB_MAX_DEPTH

// scx_sched.ancestors is an array of pointers, of the root first and of the scheduler itself last.
uint64_t parentOf(MemberReader& members, uint64_t scheduler, int32_t level) {
  const auto ancestors = members.place(scheduler, "scx_sched.ancestors");
  if (!ancestors || level == 0) return 0;
  if (level < 0 || level > maxLevel) {
    members.gap(text("its level is ", level));
    return 0;
  }
  return members.at<uint64_t>(*ancestors + uint64_t{8} * static_cast<uint32_t>(level - 1), "its parent")
      .value_or(0);
}

void copyOne(const DumpSource& source, MemberReader& members, uint64_t scheduler,
             rpc::HierarchyScheduler::Builder out) {
  const int32_t level = members.get<int32_t>(scheduler, "scx_sched.level").value_or(0);
  out.setAddress(scheduler);
  out.setLevel(level);
  out.setParent(parentOf(members, scheduler, level));
  out.setOpsName(members.chars(scheduler, "scx_sched.ops.name"));
  out.setExitKind(members.get<int32_t>(scheduler, "scx_sched.exit_kind").value_or(0));
  const auto path = members.get<uint64_t>(scheduler, "scx_sched.cgrp_path").value_or(0);
  const auto words = path ? source.kernel().string(path, maxCgroupPath) : std::nullopt;
  if (path && !words) members.gap(text("the path of its cgroup at ", hex(path), " is no text in memory"));
  out.setCgroup(printable(words.value_or("")));
  out.setIncomplete(members.takeIncomplete());
}

}  // namespace

void copyHierarchy(const DumpSource& source, rpc::SchedulerState::Builder out) {
  for (const char* member :
       {"scx_sched.all", "scx_sched.level", "scx_sched.ancestors", "scx_sched.cgrp_path"}) {
    if (!source.layout().member(member)) return source.absent.add(section, source.layout().whyAbsent(member));
  }
  const auto head = source.kernel().symbol("scx_sched_all");
  if (!head) return source.absent.add(section, "no symbol scx_sched_all");
  const auto walk = walkList(source.kernel(), *head, dump_limits::schedulers);
  if (!walk.problem.empty()) source.absent.add(section, walk.problem);
  auto list = out.initHierarchy(static_cast<unsigned>(walk.found.size()));
  MemberReader members(source, section);
  for (unsigned i = 0; i < list.size(); ++i)
    copyOne(source, members, walk.found[i] - source.layout().member("scx_sched.all")->offset, list[i]);
}

}  // namespace ktstr
