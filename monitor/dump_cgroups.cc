// The cgroups that have a task_group, with the weights that a scheduler was told of.
#include <algorithm>

#include "monitor/cgroup_path.h"
#include "monitor/dump_parts.h"
#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {

const std::string& CgroupPaths::of(uint64_t cgroup) {
  const auto [at, isNew] = known_.try_emplace(cgroup);
  if (isNew) at->second = cgroupPath(source_.fields, cgroup);
  if (at->second.empty()) nameAbsent();
  if (at->second.size() > left_) {
    source_.absent.add("cgroup paths",
                       text("together they have more than ", dump_limits::pathBytes >> 20, " MiB"));
    at->second.clear();
  }
  left_ -= at->second.size();
  return at->second;
}

void CgroupPaths::nameAbsent() const {
  for (const char* const member : {"cgroup.kn", "kernfs_node.name", "kernfs_node.__parent"}) {
    const bool isOlder =
        source_.layout().member("kernfs_node.parent") && member == std::string_view("kernfs_node.__parent");
    if (!isOlder && !source_.layout().member(member))
      source_.absent.add("cgroup paths", source_.layout().whyAbsent(member));
  }
}

void copyCgroups(const DumpSource& source, CgroupPaths& paths, rpc::Dump::Builder out) {
  const auto head = source.kernel().symbol("task_groups");
  const auto link = source.layout().member("task_group.list");
  if (!head || !link)
    return source.absent.add("cgroups",
                             head ? source.layout().whyAbsent("task_group.list") : "no symbol task_groups");
  const auto walk = walkList(source.kernel(), *head, dump_limits::cgroups);
  if (!walk.problem.empty()) source.absent.add("cgroups", walk.problem);
  MemberReader members(source, "cgroups");
  struct Group {
    uint64_t address, cgroup;
    std::string path;
  };
  std::vector<Group> groups;
  for (const uint64_t node : walk.found) {
    const uint64_t group = node - link->offset;
    const auto cgroup = members.get<uint64_t>(group, "task_group.css.cgroup");
    if (const auto gap = members.takeIncomplete(); !gap.empty()) source.absent.add("cgroups", gap);
    if (cgroup.value_or(0) != 0) groups.push_back({group, *cgroup, paths.of(*cgroup)});  // others: autogroups
  }
  std::stable_sort(groups.begin(), groups.end(), [](auto& a, auto& b) { return a.path < b.path; });
  auto list = out.initCgroups(static_cast<unsigned>(groups.size()));
  for (unsigned i = 0; i < list.size() && source.hasTime("cgroups"); ++i) {
    const auto& [group, cgroup, path] = groups[i];
    if (path.empty()) members.gap(text("the path of the cgroup at ", hex(cgroup), " cannot be read"));
    list[i].setPath(path);
    const auto node = members.get<uint64_t>(cgroup, "cgroup.kn");
    if (node) list[i].setId(members.get<uint64_t>(*node, "kernfs_node.id").value_or(0));
    list[i].setWeight(
        members.getEither<uint32_t>(group, "task_group.scx.weight", "task_group.scx_weight").value_or(0));
    list[i].setScxFlags(
        members.getEither<uint32_t>(group, "task_group.scx.flags", "task_group.scx_flags").value_or(0));
    list[i].setIncomplete(members.takeIncomplete());
  }
}

}  // namespace ktstr
