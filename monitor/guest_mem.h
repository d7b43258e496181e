// The one door to guest-physical memory: bounds-checked, overflow-safe, read-only.
//
// The memory is hostile input that changes while it is read. So: a value that is checked must be read once
// into a local (read(), copy()); a view (bytes()) may show different bytes at each look. Nothing here ever
// writes. What is not there is std::nullopt or false, never zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace ktstr {

// One contiguous piece of guest-physical address space, `size` bytes at `data` on the host.
struct MemRegion {
  uint64_t gpa;
  uint64_t size;
  const std::byte* data;
};

// Loads a scalar that the guest may change meanwhile. Aligned: one atomic load of the whole value, so that it
// cannot tear; unaligned: a copy, which can.
template <typename T>
T loadGuest(const std::byte* from) {
  static_assert(std::is_integral_v<T>);
  if (reinterpret_cast<uintptr_t>(from) % sizeof(T) == 0) {
    return __atomic_load_n(reinterpret_cast<const T*>(from), __ATOMIC_RELAXED);
  }
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

class GuestMem {
 public:
  // The regions' memory must outlive this object. Throws Error "regions-invalid" if there is none, one is
  // empty or wraps around, or two overlap.
  explicit GuestMem(std::vector<MemRegion> regions);

  // A view of [gpa, gpa+size), if it lies inside one region. No copy. size 0 is refused.
  std::optional<std::span<const std::byte>> bytes(uint64_t gpa, uint64_t size) const;

  // A view of at most `limit` bytes from gpa to the end of its region; empty if gpa is not RAM.
  std::span<const std::byte> bytesUpTo(uint64_t gpa, uint64_t limit) const;

  // A scalar of 1, 2, 4 or 8 bytes, if it lies inside one region.
  template <typename T>
  std::optional<T> read(uint64_t gpa) const {
    const auto view = bytes(gpa, sizeof(T));
    if (!view) return std::nullopt;
    return loadGuest<T>(view->data());
  }

  // Copies out.size() bytes, across adjoining regions. False if any byte is not guest RAM; `out` is undefined
  // then.
  bool copy(uint64_t gpa, std::span<std::byte> out) const;

  uint64_t size() const;                                              // bytes in all regions
  uint64_t end() const;                                               // first address after the last region
  const std::vector<MemRegion>& regions() const { return regions_; }  // in ascending gpa

 private:
  const MemRegion* find(uint64_t gpa) const;

  std::vector<MemRegion> regions_;
};

}  // namespace ktstr
