// The input makes a guest's memory of 64 KiB in which most words are pointers into it: walks must end.
#include <cstdlib>

#include "monitor/crafted_kernel.h"
#include "monitor/guest_list.h"
#include "monitor/guest_rbtree.h"
#include "monitor/guest_xarray.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ktstr;
  if (size < 16) return 0;
  constexpr size_t bytes = 64 << 10, limit = 500;
  static test::CraftedKernel guest(bytes);
  static const KernelLayout layout = KernelLayout::fromText(test::walkLayout).value();
  guest.fill({data, size});
  for (uint64_t at = 0; at < bytes; at += 4096) {
    for (const auto& walk :
         {walkList(guest.kernel(), guest.va(at), limit), walkHlist(guest.kernel(), guest.va(at), limit),
          walkRbTree(guest.kernel(), layout, guest.va(at), limit)}) {
      if (walk.found.size() > limit) std::abort();
    }
    if (walkIdr(guest.kernel(), layout, guest.va(at), limit).found.size() > limit) std::abort();
  }
  return 0;
}
