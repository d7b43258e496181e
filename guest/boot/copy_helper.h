// A second pair of hands for filling guest memory. Writing to one file is serial in the kernel, but storing
// to a mapping of it is not: half of a kernel image each way takes three quarters of the time.
#pragma once

#include <cstdint>

namespace ktstr {

// A thread that waits for one copy to make. Made before the process is locked down, which cannot make threads
// then; it blocks all signals and lives as long as the process.
class CopyHelper {
 public:
  // Returns when the thread makes no call any more that a sandbox could mind. Throws Error "thread-failed".
  CopyHelper();
  CopyHelper(const CopyHelper&) = delete;
  CopyHelper& operator=(const CopyHelper&) = delete;

  // Reads `size` bytes of `from` into [toOffset, toOffset + size) of `to`, which is all zeros, in the
  // background; needs `from` until finish() or the end of the process, `to` only during the call. Once.
  // `toOffset` is a multiple of 4096. Throws Error "map-failed".
  void begin(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size);
  // Waits for the end of what was begun, if anything was; throws what it threw (readSparse() of
  // protocol/sparse.h).
  void finish();

 private:
  struct Work;
  Work* work_;  // shared with the thread for ever
};

}  // namespace ktstr
