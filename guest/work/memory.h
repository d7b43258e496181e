// Memory that a worker works on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "guest/work/seat.h"

namespace ktstr::work {

// A private anonymous mapping without huge pages. Where its pages are is in the report when it ends.
class Buffer {
 public:
  Buffer(Seat& seat, uint64_t kibibytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  explicit operator bool() const { return data_ != nullptr; }  // false: no memory, an error of the report
  char* data() const { return data_; }
  size_t size() const { return size_; }
  // `count` read-modify-writes, `stride` bytes apart, on from where the last ones ended. Looks at the stop
  // word and notes the CPU every 1024.
  void touch(uint64_t count, uint64_t stride);

 private:
  Seat& seat_;
  char* data_ = nullptr;
  size_t size_;
  size_t next_ = 0;
};

}  // namespace ktstr::work
