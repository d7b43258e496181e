// A latency histogram of fixed size that can live in shared memory: log-linear, HDR style.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ktstr::work {

// 16 sub-buckets for each power of two: exact below 16, else a relative error of at most 1/16. Every sample
// counts, whatever its size. One writer; a reader in another process sees whole numbers.
class Histogram {
 public:
  static constexpr size_t buckets = 976;  // (63 - 3) * 16 + 16

  static constexpr size_t bucketOf(uint64_t value);
  static constexpr uint64_t upperOf(size_t bucket);  // largest value that falls into the bucket

  void add(uint64_t value) {
    std::atomic<uint64_t>& count = counts_[bucketOf(value)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  uint64_t count(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> counts_[buckets];
};

constexpr size_t Histogram::bucketOf(uint64_t value) {
  if (value < 16) return static_cast<size_t>(value);
  const unsigned exponent = 63U - static_cast<unsigned>(__builtin_clzll(value));
  return (exponent - 3) * 16 + static_cast<size_t>((value >> (exponent - 4)) & 15);
}

constexpr uint64_t Histogram::upperOf(size_t bucket) {
  if (bucket < 16) return bucket;
  const unsigned shift = static_cast<unsigned>(bucket / 16 - 1);
  const uint64_t lower = (uint64_t{16} + bucket % 16) << shift;
  return lower + ((uint64_t{1} << shift) - 1);
}

}  // namespace ktstr::work
