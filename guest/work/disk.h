// A disk for the work types that need one: an unnamed file of 4 MiB. In a guest it is on a tmpfs, as Debian's
// kernels have every block driver as a module and the image carries none; since such a file answers at once,
// an operation is followed by a sleep of the time that a device would take. tmpfs takes O_DIRECT (since Linux
// 6.6) and copies all the same; the report's `detail` says what the file is and whether O_DIRECT was taken.
#pragma once

#include <string>

#include "guest/work/seat.h"

namespace ktstr::work {

inline constexpr uint64_t diskBytes = 4 << 20, diskBlock = 4096, stripeBlocks = 16;

// Makes the file that a type needs; none if it needs none. Throws Error "disk-failed".
Fd makeDisk(Type::Reader type, const std::string& directory);

// A worker's view of it.
class Disk {
 public:
  explicit Disk(Seat& seat);

  // Each moves one block, or all of its own stripe, and returns the units of work: blocks that were moved.
  // Failures are errors of the report.
  uint64_t write(uint64_t block);
  uint64_t read(uint64_t block);
  void sync();
  // 16 blocks, then a device's time of waiting.
  uint64_t writeStripe(uint64_t deviceUs);
  // Sleeps for a device's time, if there is any.
  void wait(uint64_t deviceUs);

 private:
  Seat& seat_;
  alignas(diskBlock) char block_[diskBlock] = {};
};

}  // namespace ktstr::work
