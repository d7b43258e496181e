#include "monitor/guest_list.h"

#include "protocol/text.h"

namespace ktstr {
namespace {

// Drops what was found twice, once the node behind the last one found turns out to be that at `anchor`.
void cutCircle(std::vector<uint64_t>& found, size_t anchor) {
  const size_t length = found.size() - anchor;
  size_t first = anchor;
  while (first > 0 && found[first - 1] == found[first - 1 + length]) --first;
  found.resize(first + length);
}

// A circle is found as Brent does (BIT 20, 1980): every node is compared with one before, which moves on at
// powers of two.
template <typename IsEnd>
Walk<uint64_t> follow(const GuestKernel& kernel, uint64_t head, size_t limit, IsEnd isEnd) {
  Walk<uint64_t> walk;
  size_t anchor = 0;
  for (uint64_t at = head;;) {
    const auto next = kernel.read<uint64_t>(at);
    if (!next) {
      walk.problem = text("the list leads to ", hex(at), ", which is not in memory");
      if (!walk.found.empty()) walk.found.pop_back();
    } else if (isEnd(*next)) {
      return walk;
    } else if (!walk.found.empty() && *next == walk.found[anchor]) {
      cutCircle(walk.found, anchor);
      walk.problem = text("the list comes back to ", hex(*next));
    } else if (walk.found.size() == limit) {
      walk.problem = text("the list has more than ", limit, " nodes");
    } else {
      walk.found.push_back(at = *next);
      if (walk.found.size() > 2 * (anchor + 1)) anchor = walk.found.size() - 1;
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

Walk<uint64_t> walkHlistTable(const GuestKernel& kernel, const HlistTable& table, size_t limit) {
  constexpr uint64_t maxBuckets = uint64_t{1} << 20;
  if (table.buckets > maxBuckets)
    return {{}, text("its table is implausibly large: ", table.buckets, " buckets")};
  Walk<uint64_t> all;
  for (uint64_t i = 0; i < table.buckets && all.problem.empty(); ++i) {
    const auto one = walkHlist(kernel, table.firstHead + i * table.stride, limit - all.found.size());
    all.found.insert(all.found.end(), one.found.begin(), one.found.end());
    if (!one.problem.empty()) all.problem = text("bucket ", i, ": ", one.problem);
  }
  return all;
}

}  // namespace ktstr
