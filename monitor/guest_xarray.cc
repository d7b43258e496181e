#include "monitor/guest_xarray.h"

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned chunkShift = 6, maxShift = 60;  // XA_CHUNK_SHIFT without CONFIG_BASE_SMALL
constexpr uint64_t chunkSlots = 64;

// xa_is_node(), xa_is_internal(), xa_is_value()
bool isNode(uint64_t entry) {
  return (entry & 3) == 2 && entry > 4096;
}
bool isPointer(uint64_t entry) {
  return entry != 0 && (entry & 3) == 0;
}

class XarrayWalk {
 public:
  XarrayWalk(const GuestKernel& kernel, uint32_t shiftOffset, uint32_t slotsOffset, size_t limit)
      : kernel_(kernel),
        shiftOffset_(shiftOffset),
        slotsOffset_(slotsOffset),
        limit_(limit),
        nodes_(limit + chunkSlots) {}

  void entry(uint64_t entry, uint64_t index, std::optional<unsigned> shift) {
    if (isNode(entry)) {
      node(entry - 2, index, shift);
    } else if (isPointer(entry) && walk_.found.size() == limit_) {
      walk_.problem = text("more than ", limit_, " entries");
    } else if (isPointer(entry)) {
      walk_.found.push_back({index, entry});
    }
  }
  Walk<XarrayEntry> take() { return std::move(walk_); }

 private:
  // `expected`: what its shift must be; the root's may be any.
  void node(uint64_t address, uint64_t index, std::optional<unsigned> expected) {
    const auto shift = kernel_.read<uint8_t>(address + shiftOffset_);
    if (!shift) {
      walk_.problem = text("node ", hex(address), " is not in memory");
    } else if (*shift > maxShift || *shift % chunkShift != 0 || (expected && *expected != *shift)) {
      walk_.problem = text("node ", hex(address), " has a shift of ", unsigned{*shift});
    } else if (nodes_-- == 0) {
      walk_.problem = "too many nodes";
    } else {
      slots(address + slotsOffset_, index, *shift);
    }
  }

  void slots(uint64_t address, uint64_t index, unsigned shift) {
    for (uint64_t slot = 0; slot < chunkSlots && walk_.problem.empty(); ++slot) {
      const auto value = kernel_.read<uint64_t>(address + 8 * slot);
      if (!value) {
        walk_.problem = text("slot ", hex(address + 8 * slot), " is not in memory");
      } else if (!isNode(*value) || shift >= chunkShift) {
        entry(*value, index + (slot << shift), shift - chunkShift);
      }
    }
  }

  const GuestKernel& kernel_;
  uint32_t shiftOffset_, slotsOffset_;
  size_t limit_, nodes_;
  Walk<XarrayEntry> walk_;
};

}  // namespace

Walk<XarrayEntry> walkXarray(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address,
                             size_t limit) {
  for (const auto* const needed : {"xarray.xa_head", "xa_node.shift", "xa_node.slots"}) {
    if (!layout.member(needed)) return {{}, layout.whyAbsent(needed)};
  }
  const auto slots = *layout.member("xa_node.slots");
  if (slots.size != 8 * chunkSlots) return {{}, text("an xa_node has ", slots.size / 8, " slots")};
  const auto head = kernel.read<uint64_t>(address + layout.member("xarray.xa_head")->offset);
  if (!head) return {{}, text("the xarray at ", hex(address), " is not in memory")};
  XarrayWalk walk(kernel, layout.member("xa_node.shift")->offset, slots.offset, limit);
  walk.entry(*head, 0, std::nullopt);
  return walk.take();
}

Walk<XarrayEntry> walkIdr(const GuestKernel& kernel, const KernelLayout& layout, uint64_t address,
                          size_t limit) {
  const auto xarray = layout.member("idr.idr_rt"), base = layout.member("idr.idr_base");
  if (!xarray) return {{}, layout.whyAbsent("idr.idr_rt")};
  auto walk = walkXarray(kernel, layout, address + xarray->offset, limit);
  const auto first = base ? kernel.read<uint32_t>(address + base->offset) : std::nullopt;
  for (auto& entry : walk.found) entry.index += first.value_or(0);
  return walk;
}

}  // namespace ktstr
