// One figure along a series of snapshots, and what may be asked of its course:
//
//   EXPECT_TRUE(ctx.last().series().bpf<uint64_t>("nr_enqueued").nondecreasing());
//
// What is asserted is a SeriesVerdict: pass, fail or inconclusive, with the reason. EXPECT_TRUE takes it, and
// only a pass is true.
//
// A sample may have no value: the snapshot was not taken ("snapshot-missing"), or the figure is not in it (an
// Error of snapshot.h). No pattern passes over such a sample: it fails or, if the others show no failure, is
// inconclusive, and names each with its error. So is one with fewer values than it needs to show anything.
// Times are guest time since the scenario started.
#pragma once

#include <initializer_list>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "protocol/error.h"
#include "protocol/record.capnp.h"

namespace ktstr {

struct SeriesVerdict {
  rpc::Outcome outcome;  // pass, fail, inconclusive
  std::string reason;    // "nr_enqueued (nondecreasing): regression at sample periodic_004 (+850 ms): ..."

  operator testing::AssertionResult() const;  // NOLINT: EXPECT_TRUE(field.nondecreasing())
  explicit operator bool() const { return outcome == rpc::Outcome::PASS; }
};
std::ostream& operator<<(std::ostream& out, const SeriesVerdict& verdict);

// Exact for whole numbers of 64 bits with and without a sign, and for double.
using SeriesNumber = long double;

struct SeriesPoint {
  std::string tag;  // "periodic_004"
  double atMs;      // NaN: not known
  std::variant<SeriesNumber, Error> value;
};

// The patterns. Each is about consecutive values in their order.
class SeriesPatterns {
 public:
  SeriesPatterns(std::string label, std::vector<SeriesPoint> points)
      : label_(std::move(label)), points_(std::move(points)) {}

  const std::string& label() const { return label_; }
  const std::vector<SeriesPoint>& points() const { return points_; }
  size_t size() const { return points_.size(); }

  // v[i] <= v[i+1], v[i] < v[i+1]; also across samples without a value. Need two values.
  SeriesVerdict nondecreasing() const;
  SeriesVerdict strictlyIncreasing() const;

  // Change per MILLISECOND from sample to sample, never across one without a value. Needs two values. Two
  // samples at one time are inconclusive, a rate that is not finite fails.
  SeriesVerdict rateWithin(double least, double most) const;

  // Each value from warmupMs on is in mean * (1 +- share), the mean being that of just these. Needs two of
  // them.
  SeriesVerdict steadyWithin(double warmupMs, double share) const;

  // Three consecutive samples at most `within` away from the target, the last not after deadlineMs; one
  // without a value interrupts them. It fails only if there were none even with every missing value at the
  // target. Fewer than three values up to the deadline are inconclusive.
  SeriesVerdict convergesTo(double target, double within, double deadlineMs) const;

  // self[i] / other[i], in lock-step. A divisor of 0 is inconclusive; series of different lengths fail.
  SeriesVerdict ratioWithin(const SeriesPatterns& other, double least, double most) const;

  // Of every sample. Strict: a sample that was taken but has no such figure fails, and so does NaN, which no
  // bound holds for. One that was not taken is inconclusive.
  class Each {
   public:
    explicit Each(const SeriesPatterns& series) : series_(series) {}
    SeriesVerdict atLeast(double least) const;
    SeriesVerdict atMost(double most) const;
    SeriesVerdict between(double least, double most) const;

   private:
    const SeriesPatterns& series_;
  };
  Each each() const { return Each(*this); }

 protected:
  SeriesVerdict everyValue(const std::string& pattern, const std::string& wanted,
                           bool (*holds)(SeriesNumber value, double least, double most), double least,
                           double most) const;

 private:
  SeriesVerdict monotonic(const char* pattern, bool strict) const;

  std::string label_;
  std::vector<SeriesPoint> points_;
};

// T: uint64_t, int64_t, double, bool.
template <typename T>
class SeriesField : public SeriesPatterns {
 public:
  using SeriesPatterns::SeriesPatterns;

  // Throws the sample's Error; std::out_of_range.
  T at(size_t index) const {
    const auto& value = points().at(index).value;
    if (const Error* error = std::get_if<Error>(&value)) throw *error;
    return static_cast<T>(std::get<SeriesNumber>(value));
  }

  // Strict as each().
  SeriesVerdict alwaysTrue() const requires std::same_as<T, bool> {
    return everyValue(
        "alwaysTrue", "true", [](SeriesNumber value, double, double) { return value != 0; }, 0, 0);
  }
};

}  // namespace ktstr
