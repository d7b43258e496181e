// Guest RAM as a file: the descriptor the VMM hands out, mapped read-only, and cheap ways to look through all
// of it.
#pragma once

#include <functional>
#include <vector>

#include "monitor/guest_mem.h"
#include "protocol/fd.h"

namespace ktstr {

// [offset, offset+size) of the file is guest RAM at [gpa, gpa+size). Cores have it at any offset; only where
// gpa and offset are congruent modulo 8 no aligned load can tear.
struct RamRange {
  uint64_t gpa;
  uint64_t size;
  uint64_t offset;
};

// The machine model's layout of `bytes` of RAM: up to 2 GiB at 0, the rest at 4 GiB, linear in the file.
std::vector<RamRange> modelRamLayout(uint64_t bytes);

class RamFile {
 public:
  // Takes over the descriptor and maps every range PROT_READ, MAP_SHARED. Throws Error "map-failed",
  // "ram-invalid" (a range beyond the end of the file, an empty one, or more than 64 of them),
  // "regions-invalid".
  RamFile(Fd fd, std::vector<RamRange> ranges);

  const GuestMem& memory() const { return memory_; }
  const std::vector<RamRange>& ranges() const { return ranges_; }

  // True if the file carries F_SEAL_FUTURE_WRITE or F_SEAL_WRITE: nobody who gets this descriptor can map it
  // writable.
  bool sealed() const;

  // Copies by pread(): unlike a mapped read it allocates no page where the file has a hole, and adds nothing
  // to our resident set. False if the range is not inside one RAM range.
  bool peek(uint64_t gpa, std::span<std::byte> out) const;

  // Calls visit(gpa, bytes) for all RAM that is not a hole in the file, in ascending file order, in chunks of
  // at most 256 KiB that begin on a page. The bytes are valid during the call: a copy, or, where the file has
  // huge pages, guest memory itself, which changes while it is looked at. Such a file has no holes, and who
  // looks at the beginnings of its pages alone need not pay for all the rest. Stops when visit returns false.
  void scan(const std::function<bool(uint64_t gpa, std::span<const std::byte>)>& visit) const;

  // Lets go of mapped pages, so that what was read does not stay in our resident set.
  void releasePages() const;

 private:
  bool scanMapping(size_t range,
                   const std::function<bool(uint64_t, std::span<const std::byte>)>& visit) const;
  bool scanExtent(const RamRange& range, uint64_t begin, uint64_t end,
                  const std::function<bool(uint64_t, std::span<const std::byte>)>& visit) const;

  Fd fd_;
  std::vector<RamRange> ranges_;
  bool hugePages_;
  std::vector<Mapping> mappings_;
  GuestMem memory_;
};

}  // namespace ktstr
