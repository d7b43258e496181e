// A second pair of hands for filling guest memory. Writing to one file is serial in the kernel, but storing
// to a mapping of it is not: half of a kernel image each way takes three quarters of the time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>

namespace ktstr {

// A thread that waits for one copy to make; to be made before the process is locked down, as it cannot make
// threads then. It blocks all signals. It lives as long as the process, and the helper must, too, once
// begin() was called until finish() has returned.
class CopyHelper {
 public:
  CopyHelper();
  CopyHelper(const CopyHelper&) = delete;
  CopyHelper& operator=(const CopyHelper&) = delete;

  // As copySparse(), in the background, through a mapping of `to`. Once; `toOffset` is a multiple of 4096.
  void begin(int from, uint64_t fromOffset, int to, uint64_t toOffset, uint64_t size);
  // Waits for the end of what was begun, if anything was; throws what it threw.
  void finish();

 private:
  struct Work;
  Work* work_;  // shared with the thread for ever
};

}  // namespace ktstr
