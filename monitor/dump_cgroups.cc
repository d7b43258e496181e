// The cgroups that have a task_group, with the weights that a scheduler was told of.
#include <algorithm>

#include "monitor/cgroup_path.h"
#include "monitor/dump_parts.h"
#include "monitor/guest_list.h"
#include "protocol/text.h"

namespace ktstr {

const std::string& CgroupPaths::of(uint64_t cgroup) {
  const auto [at, isNew] = known_.try_emplace(cgroup);
  if (isNew) at->second = cgroupPath(fields_, cgroup);
  return at->second;
}

void copyCgroups(const DumpSource& source, CgroupPaths& paths, rpc::Dump::Builder out) {
  const KernelFields& fields = source.fields;
  const auto head = source.kernel().symbol("task_groups");
  const auto link = source.layout().member("task_group.list");
  if (!head || !link)
    return source.absent.add("cgroups",
                             head ? source.layout().whyAbsent("task_group.list") : "no symbol task_groups");
  const auto walk = walkList(source.kernel(), *head, dump_limits::cgroups);
  if (!walk.problem.empty()) source.absent.add("cgroups", walk.problem);
  struct Group {
    uint64_t address, cgroup;
  };
  std::vector<Group> groups;
  for (const uint64_t node : walk.found) {
    const uint64_t group = node - link->offset;
    const auto cgroup = fields.get<uint64_t>(group, "task_group.css.cgroup");
    if (cgroup.value_or(0) != 0) groups.push_back({group, *cgroup});  // the others are autogroups
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [&](auto& a, auto& b) { return paths.of(a.cgroup) < paths.of(b.cgroup); });
  auto list = out.initCgroups(static_cast<unsigned>(groups.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const uint64_t group = groups[i].address, cgroup = groups[i].cgroup;
    const auto in = [&](const char* member, const char* older) {
      const auto value = fields.get<uint32_t>(group, member);
      return (value ? value : fields.get<uint32_t>(group, older)).value_or(0);
    };
    list[i].setPath(paths.of(cgroup));
    if (const auto node = fields.get<uint64_t>(cgroup, "cgroup.kn"))
      list[i].setId(fields.get<uint64_t>(*node, "kernfs_node.id").value_or(0));
    list[i].setWeight(in("task_group.scx.weight", "task_group.scx_weight"));
    list[i].setScxFlags(in("task_group.scx.flags", "task_group.scx_flags"));
  }
}

}  // namespace ktstr
