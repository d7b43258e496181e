#include "monitor/guest_list.h"

#include <unordered_set>

#include "protocol/text.h"

namespace ktstr {
namespace {

template <typename IsEnd>
Walk<uint64_t> follow(const GuestKernel& kernel, uint64_t head, size_t limit, IsEnd isEnd) {
  Walk<uint64_t> walk;
  std::unordered_set<uint64_t> seen;
  for (uint64_t at = head;;) {
    const auto next = kernel.read<uint64_t>(at);
    if (!next) {
      walk.problem = text("the list leads to ", hex(at), ", which is not in memory");
      if (!walk.found.empty()) walk.found.pop_back();
    } else if (isEnd(*next)) {
      return walk;
    } else if (!seen.insert(*next).second) {
      walk.problem = text("the list comes back to ", hex(*next));
    } else if (walk.found.size() == limit) {
      walk.problem = text("the list has more than ", limit, " nodes");
    } else {
      walk.found.push_back(at = *next);
      continue;
    }
    return walk;
  }
}

}  // namespace

Walk<uint64_t> walkList(const GuestKernel& kernel, uint64_t head, size_t limit) {
  return follow(kernel, head, limit, [head](uint64_t next) { return next == head; });
}

Walk<uint64_t> walkHlist(const GuestKernel& kernel, uint64_t head, size_t limit) {
  return follow(kernel, head, limit, [](uint64_t next) { return next == 0 || (next & 1); });
}

}  // namespace ktstr
