#include "monitor/cgroup_path.h"

namespace ktstr {

// Up the directories of cgroup.kn (struct kernfs_node), whose root has no parent and no name. `parent` is
// called `__parent` since 6.15.
std::string cgroupPath(const KernelFields& fields, uint64_t cgroup) {
  constexpr unsigned maxDepth = 64;
  constexpr size_t maxComponent = 256;  // NAME_MAX and NUL
  auto node = fields.get<uint64_t>(cgroup, "cgroup.kn");
  std::string path;
  for (unsigned depth = 0; node && *node != 0; ++depth) {
    auto parent = fields.get<uint64_t>(*node, "kernfs_node.__parent");
    if (!parent) parent = fields.get<uint64_t>(*node, "kernfs_node.parent");
    const auto name = fields.get<uint64_t>(*node, "kernfs_node.name");
    const auto words = name ? fields.kernel().string(*name, maxComponent) : std::nullopt;
    if (!parent || !words || depth == maxDepth) return {};
    if (*parent == 0) return path.empty() ? "/" : path;
    path.insert(0, "/" + printable(*words));
    if (path.size() > maxCgroupPath) return {};
    node = parent;
  }
  return {};
}

}  // namespace ktstr
