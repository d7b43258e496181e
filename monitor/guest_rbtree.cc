#include "monitor/guest_rbtree.h"

#include <unordered_set>

#include "protocol/text.h"

namespace ktstr {

Walk<uint64_t> walkRbTree(const GuestKernel& kernel, const KernelLayout& layout, uint64_t root,
                          size_t limit) {
  Walk<uint64_t> walk;
  const auto left = layout.member("rb_node.rb_left"), right = layout.member("rb_node.rb_right");
  if (!left || !right) {
    walk.problem = layout.whyAbsent("rb_node.rb_left");
    return walk;
  }
  std::unordered_set<uint64_t> seen;
  std::vector<uint64_t> above;  // nodes whose left side is done when they are on top
  auto next = kernel.read<uint64_t>(root);
  uint64_t from = root;
  while (true) {
    for (; next && *next != 0; next = kernel.read<uint64_t>((from = *next) + left->offset)) {
      if (!seen.insert(*next).second) walk.problem = text("the tree comes back to ", hex(*next));
      if (seen.size() > limit) walk.problem = text("the tree has more than ", limit, " nodes");
      if (!walk.problem.empty()) return walk;
      above.push_back(*next);
    }
    if (!next) walk.problem = text("the tree leads to ", hex(from), ", which is not in memory");
    if (!next || above.empty()) return walk;
    walk.found.push_back(from = above.back());
    above.pop_back();
    next = kernel.read<uint64_t>(from + right->offset);
  }
}

}  // namespace ktstr
