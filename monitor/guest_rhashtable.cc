#include "monitor/guest_rhashtable.h"

#include <unordered_set>

#include "monitor/kernel_fields.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr uint32_t maxBuckets = 1 << 20;
constexpr unsigned maxTables = 4;  // one, and those it is being moved to

class RhashtableWalk {
 public:
  RhashtableWalk(const GuestKernel& kernel, const KernelLayout& layout, size_t limit)
      : kernel_(kernel), fields_(kernel, layout), limit_(limit) {}

  Walk<uint64_t> walk(uint64_t rhashtable) {
    for (const char* const name : {"rhashtable.tbl", "bucket_table.size", "bucket_table.nest",
                                   "bucket_table.buckets", "bucket_table.future_tbl"}) {
      if (!fields_.layout().member(name)) return {{}, fields_.layout().whyAbsent(name)};
    }
    auto table = fields_.get<uint64_t>(rhashtable, "rhashtable.tbl");
    if (!table) walk_.problem = "its table is not in memory";
    for (unsigned i = 0; table && *table != 0 && walk_.problem.empty(); ++i) {
      if (i == maxTables) {
        walk_.problem = text("it is being moved through more than ", maxTables, " tables");
        break;
      }
      buckets(*table);
      table = fields_.get<uint64_t>(*table, "bucket_table.future_tbl");
      if (!table && walk_.problem.empty()) walk_.problem = "the table that it is moved to is not in memory";
    }
    return std::move(walk_);
  }

 private:
  void buckets(uint64_t table) {
    const auto size = fields_.get<uint32_t>(table, "bucket_table.size"),
               nest = fields_.get<uint32_t>(table, "bucket_table.nest");
    const auto first = fields_.at(table, "bucket_table.buckets");
    if (!size || !nest || !first) {
      walk_.problem = text("its table at ", hex(table), " is not in memory");
    } else if (*nest != 0) {
      walk_.problem = "its table is nested";
    } else if (*size > maxBuckets) {
      walk_.problem = text("its table has ", *size, " buckets");
    }
    for (uint32_t i = 0; walk_.problem.empty() && i < *size; ++i) chain(*first + uint64_t{8} * i);
  }

  // Bit 0 of a bucket is its lock, an odd pointer the end of a chain.
  void chain(uint64_t bucket) {
    auto next = kernel_.read<uint64_t>(bucket);
    if (next) *next &= ~uint64_t{1};
    while (next && *next != 0 && !(*next & 1)) {
      if (!seen_.insert(*next).second) {
        walk_.problem = text("a chain comes back to ", hex(*next));
      } else if (walk_.found.size() == limit_) {
        walk_.problem = text("it has more than ", limit_, " entries");
      } else {
        walk_.found.push_back(*next);
        next = kernel_.read<uint64_t>(*next);
        continue;
      }
      return;
    }
    if (next) return;
    walk_.problem = text("a chain leads out of memory");
    if (!walk_.found.empty() && !kernel_.read<uint64_t>(walk_.found.back())) walk_.found.pop_back();
  }

  const GuestKernel& kernel_;
  KernelFields fields_;
  size_t limit_;
  std::unordered_set<uint64_t> seen_;
  Walk<uint64_t> walk_;
};

}  // namespace

Walk<uint64_t> walkRhashtable(const GuestKernel& kernel, const KernelLayout& layout, uint64_t table,
                              size_t limit) {
  return RhashtableWalk(kernel, layout, limit).walk(table);
}

}  // namespace ktstr
