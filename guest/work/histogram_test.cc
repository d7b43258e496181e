#include "guest/work/histogram.h"

#include <gtest/gtest.h>

#include <memory>

namespace ktstr::work {
namespace {

TEST(HistogramTest, BucketsCoverAllValuesWithoutOverlap) {
  uint64_t lower = 0;
  for (size_t bucket = 0; bucket < Histogram::buckets; bucket++) {
    const uint64_t upper = Histogram::upperOf(bucket);
    EXPECT_EQ(Histogram::bucketOf(lower), bucket);
    EXPECT_EQ(Histogram::bucketOf(upper), bucket);
    lower = upper + 1;
  }
  EXPECT_EQ(lower, 0U) << "the last bucket ends at the largest value";
}

TEST(HistogramTest, RelativeErrorIsAtMostOneSixteenth) {
  for (uint64_t value = 1; value < uint64_t{1} << 60; value = value * 5 / 4 + 1) {
    const uint64_t upper = Histogram::upperOf(Histogram::bucketOf(value));
    ASSERT_GE(upper, value);
    EXPECT_LE(upper - value, value / 16) << value;
  }
}

TEST(HistogramTest, CountsEverySample) {
  const auto histogram = std::make_unique<Histogram>();
  for (const uint64_t value : {uint64_t{0}, uint64_t{15}, uint64_t{16}, uint64_t{16}, UINT64_MAX})
    histogram->add(value);
  uint64_t sum = 0;
  for (size_t bucket = 0; bucket < Histogram::buckets; bucket++) sum += histogram->count(bucket);
  EXPECT_EQ(sum, 5U);
  EXPECT_EQ(histogram->count(Histogram::bucketOf(16)), 2U);
  EXPECT_EQ(histogram->count(Histogram::buckets - 1), 1U);
}

}  // namespace
}  // namespace ktstr::work
