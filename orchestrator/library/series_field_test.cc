#include "orchestrator/library/series_field.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "protocol/text.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto pass = rpc::Outcome::PASS, fail = rpc::Outcome::FAIL, unclear = rpc::Outcome::INCONCLUSIVE;

const Error missing(ExitCode::inconclusive, "snapshot-missing", "not taken: the guest was gone");
const Error noField(ExitCode::usage, "field-not-found", "no member \"x\"", "there are: y");

using Value = std::variant<SeriesNumber, Error>;

// A sample each 100 ms, from 100 ms on.
template <typename T = double>
SeriesField<T> series(const std::vector<Value>& values) {
  std::vector<SeriesPoint> points;
  for (size_t i = 0; i < values.size(); ++i)
    points.push_back({text("periodic_00", i), 100.0 * static_cast<double>(i + 1), values[i]});
  return {"nr", points};
}

TEST(SeriesTest, monotonicComparesNeighbours) {
  EXPECT_EQ(series({1.L, 1.L, 2.L}).nondecreasing().outcome, pass);
  EXPECT_EQ(series({1.L, 1.L, 2.L}).strictlyIncreasing().outcome, fail);
  EXPECT_EQ(series({1.L, 2.L, 3.L}).strictlyIncreasing().outcome, pass);
  EXPECT_EQ(
      series({3.L, 100.L, 7.L}).nondecreasing().reason,
      "nr (nondecreasing): regression at sample periodic_002 (+300 ms): value 7 after prior value 100 at "
      "sample periodic_001 (+200 ms)");
  EXPECT_THAT(series({1.L, 1.L}).strictlyIncreasing().reason,
              HasSubstr("no increase at sample periodic_001"));
  EXPECT_EQ(series({1.L, NAN}).nondecreasing().outcome, fail);
}

TEST(SeriesTest, monotonicIsExactFor64Bits) {
  constexpr uint64_t most = std::numeric_limits<uint64_t>::max();
  const auto rising = series<uint64_t>({SeriesNumber{most - 1}, SeriesNumber{most}});
  EXPECT_EQ(rising.strictlyIncreasing().outcome, pass);
  EXPECT_EQ(rising.at(1), most);
  const auto falling = series<uint64_t>({SeriesNumber{most}, SeriesNumber{most - 1}}).nondecreasing();
  EXPECT_EQ(falling.outcome, fail);
  EXPECT_THAT(falling.reason, HasSubstr("value 18446744073709551614 after prior value 18446744073709551615"));
}

TEST(SeriesTest, monotonicComparesAcrossGapsButIsNotGreen) {
  const auto gap = series({1.L, missing, 2.L}).nondecreasing();
  EXPECT_EQ(gap.outcome, unclear);
  EXPECT_THAT(gap.reason, HasSubstr("no value at periodic_001 (+200 ms): snapshot-missing: not taken"));
  const auto worse = series({2.L, noField, 1.L}).nondecreasing();
  EXPECT_EQ(worse.outcome, fail);
  EXPECT_THAT(worse.reason,
              AllOf(HasSubstr("after prior value 2 at sample periodic_000"), HasSubstr("there are: y")));
}

TEST(SeriesTest, tooFewValuesShowNothing) {
  for (const auto& few : {series({}), series({1.L}), series({1.L, missing})}) {
    EXPECT_EQ(few.nondecreasing().outcome, unclear);
    EXPECT_EQ(few.strictlyIncreasing().outcome, unclear);
    EXPECT_EQ(few.rateWithin(0, 1).outcome, unclear);
    EXPECT_EQ(few.steadyWithin(0, 1).outcome, unclear);
    EXPECT_EQ(few.convergesTo(1, 1, 1000).outcome, unclear);
  }
  EXPECT_EQ(series({}).each().atLeast(0).outcome, unclear);
  EXPECT_EQ(series<bool>({}).alwaysTrue().outcome, unclear);
  EXPECT_EQ(series({}).ratioWithin(series({}), 0, 1).outcome, unclear);
}

TEST(SeriesTest, ratesArePerMillisecondAndNotAcrossGaps) {
  EXPECT_EQ(series({0.L, 50.L, 150.L}).rateWithin(0.5, 1).outcome, pass);
  EXPECT_EQ(
      series({0.L, 50.L, 150.L}).rateWithin(0.6, 1).reason,
      "nr (rateWithin [0.6, 1] per ms): 0.5 per ms from periodic_000 (+100 ms) to periodic_001 (+200 ms): "
      "value 0 became 50");
  EXPECT_EQ(series({0.L, 50.L, missing, 1e6L, 1e6L + 50}).rateWithin(0.5, 1).outcome, unclear);
  EXPECT_EQ(series({0.L, missing, 50.L}).rateWithin(0, 1).outcome, unclear);
  EXPECT_EQ(series({5.L, 0.L}).rateWithin(-1, 1).outcome, pass);
  EXPECT_EQ(series({0.L, INFINITY}).rateWithin(-1, INFINITY).outcome, fail);
  EXPECT_THAT(series({0.L, 1.L}).rateWithin(2, 1).reason, HasSubstr("the bounds [2, 1] hold for no value"));
  const SeriesPatterns still("nr", {{"a", 5, 1.L}, {"b", 5, 1.L}});
  EXPECT_EQ(still.rateWithin(0, 1).outcome, unclear);
  EXPECT_EQ(SeriesPatterns("nr", {{"a", NAN, 1.L}, {"b", 5, 1.L}}).rateWithin(0, 1).outcome, unclear);
}

TEST(SeriesTest, steadyIsAboutTheMeanAfterTheWarmUp) {
  const auto warm = series({1000.L, 95.L, 100.L, 105.L});
  EXPECT_EQ(warm.steadyWithin(200, 0.05).outcome, pass);
  EXPECT_EQ(warm.steadyWithin(100, 0.05).outcome, fail);
  EXPECT_THAT(warm.steadyWithin(200, 0.04).reason,
              AllOf(HasSubstr("95 at sample periodic_001 (+200 ms) is more than 4 away from the mean 100"),
                    HasSubstr("105 at")));
  EXPECT_EQ(warm.steadyWithin(5000, 0.1).outcome, unclear);
  EXPECT_EQ(warm.steadyWithin(400, 0.1).outcome, unclear) << "one value is its own mean";
  EXPECT_EQ(series({-100.L, -102.L}).steadyWithin(0, 0.05).outcome, pass);
  EXPECT_EQ(series({1.L, 1.L}).steadyWithin(0, -1).outcome, fail);
  EXPECT_EQ(series({missing, 10.L, 10.L}).steadyWithin(200, 0).outcome, pass) << "the gap is in the warm-up";
  EXPECT_EQ(series({10.L, missing, 10.L}).steadyWithin(0, 0).outcome, unclear);
  EXPECT_EQ(series({10.L, NAN, 10.L}).steadyWithin(0, 1).outcome, fail);
  const SeriesPatterns timeless("nr", {{"a", NAN, 1.L}, {"b", 5, 1.L}, {"c", 6, 1.L}, {"d", 7, 1.L}});
  EXPECT_EQ(timeless.steadyWithin(0, 1).outcome, unclear);
  EXPECT_EQ(timeless.convergesTo(1, 1, 10).outcome, unclear);
}

TEST(SeriesTest, convergenceIsThreeInARowByTheDeadline) {
  const auto arriving = series({50.L, 9.L, 11.L, 10.L, 99.L});
  EXPECT_EQ(arriving.convergesTo(10, 1, 400).outcome, pass);
  EXPECT_EQ(arriving.convergesTo(10, 1, 399).outcome, fail);
  EXPECT_EQ(arriving.convergesTo(10, 0.5, 400).outcome, fail);
  EXPECT_EQ(arriving.convergesTo(10, 1, 200).outcome, unclear) << "two values cannot show it";
  const auto interrupted = series({10.L, 10.L, missing, 10.L}).convergesTo(10, 1, 1000);
  EXPECT_EQ(interrupted.outcome, unclear) << "every value that is known is there";
  EXPECT_THAT(interrupted.reason,
              AllOf(HasSubstr("at most 2 of 3 samples in a row"), HasSubstr("periodic_002")));
  EXPECT_EQ(series({10.L, missing, 50.L, 10.L, missing, 50.L}).convergesTo(10, 1, 1000).outcome, fail)
      << "whatever the missing ones were";
  EXPECT_EQ(series({50.L, missing, missing, missing, 50.L, 50.L}).convergesTo(10, 1, 1000).outcome, unclear);
  EXPECT_EQ(series({missing, 10.L, 10.L, 10.L}).convergesTo(10, 1, 1000).outcome, unclear);
  EXPECT_EQ(series({10.L, 10.L, 10.L, missing}).convergesTo(10, 1, 300).outcome, pass)
      << "after the deadline";
}

TEST(SeriesTest, alwaysTrueAndEachAreStrict) {
  EXPECT_EQ(series<bool>({1.L, 1.L}).alwaysTrue().outcome, pass);
  EXPECT_THAT(series<bool>({1.L, 0.L}).alwaysTrue().reason,
              HasSubstr("0 at sample periodic_001 (+200 ms) is not true"));
  EXPECT_EQ(series<bool>({1.L, noField}).alwaysTrue().outcome, fail);
  EXPECT_EQ(series<bool>({1.L, missing}).alwaysTrue().outcome, unclear);
  const auto values = series({1.L, 5.L});
  EXPECT_EQ(values.each().atLeast(1).outcome, pass);
  EXPECT_EQ(values.each().atLeast(2).outcome, fail);
  EXPECT_EQ(values.each().atMost(5).outcome, pass);
  EXPECT_EQ(values.each().atMost(4).outcome, fail);
  EXPECT_EQ(values.each().between(1, 5).outcome, pass);
  EXPECT_THAT(values.each().between(2, 4).reason,
              AllOf(HasSubstr("periodic_000"), HasSubstr("periodic_001")));
  EXPECT_EQ(values.each().between(5, 1).outcome, fail);
  EXPECT_THAT(series({1.L, NAN}).each().atLeast(0).reason, HasSubstr("NaN at sample periodic_001"));
  EXPECT_EQ(series({1.L, noField}).each().atLeast(0).outcome, fail);
  EXPECT_EQ(series({1.L, missing}).each().atLeast(0).outcome, unclear);
}

TEST(SeriesTest, ratiosAreInLockStep) {
  const auto halves = series({1.L, 2.L, 3.L}), wholes = series({2.L, 4.L, 6.L});
  EXPECT_EQ(halves.ratioWithin(wholes, 0.5, 0.5).outcome, pass);
  EXPECT_THAT(halves.ratioWithin(wholes, 0.6, 1).reason,
              HasSubstr("1 / 2 at sample periodic_000 (+100 ms) is 0.5"));
  EXPECT_THAT(halves.ratioWithin(series({1.L}), 0, 9).reason, HasSubstr("it has 3 samples, nr has 1"));
  EXPECT_EQ(halves.ratioWithin(series({1.L}), 0, 9).outcome, fail);
  EXPECT_EQ(halves.ratioWithin(series({1.L, 0.L, 1.L}), 0, 9).outcome, unclear);
  EXPECT_EQ(halves.ratioWithin(series({1.L, missing, 1.L}), 0, 9).outcome, unclear);
  EXPECT_EQ(series({1.L, missing, 9.L}).ratioWithin(halves, 0, 2).outcome, fail) << "9 / 3";
  EXPECT_EQ(halves.ratioWithin(wholes, 2, 1).outcome, fail);
}

TEST(SeriesTest, onlyAPassIsTrue) {
  EXPECT_TRUE(series({1.L, 2.L}).nondecreasing());
  EXPECT_FALSE(series({2.L, 1.L}).nondecreasing());
  const testing::AssertionResult result = series({1.L, missing}).nondecreasing();
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), HasSubstr("inconclusive: nr (nondecreasing): no value at periodic_001"));
}

TEST(SeriesTest, aSampleWithoutAValueThrowsItsError) {
  const auto field = series<uint64_t>({1.L, noField});
  EXPECT_EQ(field.at(0), 1U);
  try {
    (void)field.at(1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "field-not-found");
  }
}

}  // namespace
}  // namespace ktstr
