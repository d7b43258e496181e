// Linked lists of the guest's kernel (include/linux/list.h, list_nulls.h). The link to the next node is the
// first word of list_head, hlist_head, hlist_node and their nulls variants alike.
#pragma once

#include "monitor/kernel.h"
#include "monitor/walk.h"

namespace ktstr {

// Addresses of the list_heads on the circular list that begins and ends at `head`, without it. At most
// `limit`.
Walk<uint64_t> walkList(const GuestKernel& kernel, uint64_t head, size_t limit);

// Addresses of the nodes of the hlist or hlist_nulls whose head is at `head`: up to a null pointer or an odd
// one. At most `limit`.
Walk<uint64_t> walkHlist(const GuestKernel& kernel, uint64_t head, size_t limit);

// A table of buckets, each with an hlist_head or hlist_nulls_head.
struct HlistTable {
  uint64_t firstHead;  // address of the first bucket's head
  uint64_t buckets;
  uint64_t stride;  // bytes from one bucket to the next
};

// Addresses of the nodes of all of them, bucket by bucket. At most `limit`; ends at the first bucket whose
// list has a problem.
Walk<uint64_t> walkHlistTable(const GuestKernel& kernel, const HlistTable& table, size_t limit);

}  // namespace ktstr
