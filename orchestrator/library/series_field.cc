#include "orchestrator/library/series_field.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <ostream>

#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t consecutive = 3;  // samples near a target

std::string shown(SeriesNumber value) {
  std::array<char, 64> buffer{};
  const bool whole = std::isfinite(value) && std::floor(value) == value && std::fabs(value) < 2e19L;
  std::snprintf(buffer.data(), buffer.size(), whole ? "%.0Lf" : "%.6Lg", value);
  return buffer.data();
}

std::string placeOf(const SeriesPoint& point) {
  return text(point.tag, " (+", std::round(point.atMs), " ms)");
}

std::string range(double least, double most) {
  return text('[', shown(least), ", ", shown(most), ']');
}

const SeriesNumber* valueOf(const SeriesPoint& point) {
  return std::get_if<SeriesNumber>(&point.value);
}

// Not taken, rather than without the figure.
bool isMissing(const SeriesPoint& point) {
  const Error* const error = std::get_if<Error>(&point.value);
  return error != nullptr && (error->name() == "snapshot-missing" || error->name() == "stats-missing");
}

// What a pattern comes to. A failure counts more than a gap, a gap more than that the rest is well.
class Findings {
 public:
  Findings(const SeriesPatterns& series, const std::string& pattern)
      : place_(text(series.label(), " (", pattern, "): ")) {}

  void fail(const std::string& what) { add(failures_, what); }
  void unclear(const std::string& what) { add(gaps_, what); }
  // Every sample without a value, of those that count.
  void gaps(const SeriesPatterns& series, const std::function<bool(const SeriesPoint&)>& counts) {
    for (const SeriesPoint& point : series.points()) {
      const Error* const error = std::get_if<Error>(&point.value);
      if (error != nullptr && counts(point))
        unclear(text("no value at ", placeOf(point), ": ", error->what()));
    }
  }
  void gaps(const SeriesPatterns& series) {
    gaps(series, [](const SeriesPoint&) { return true; });
  }

  SeriesVerdict verdict(const std::string& otherwise = "holds") const {
    if (!failures_.empty())
      return {rpc::Outcome::FAIL, place_ + failures_ + (gaps_.empty() ? "" : "; besides " + gaps_)};
    if (!gaps_.empty()) return {rpc::Outcome::INCONCLUSIVE, place_ + gaps_};
    return {rpc::Outcome::PASS, place_ + otherwise};
  }

 private:
  static void add(std::string& list, const std::string& what) { list += (list.empty() ? "" : "; ") + what; }

  std::string place_, failures_, gaps_;
};

// The last and this sample with a value, if there is a last; `bridging`: also across those without.
void forPairs(const SeriesPatterns& series, bool bridging,
              const std::function<void(const SeriesPoint&, const SeriesPoint&)>& take) {
  const SeriesPoint* last = nullptr;
  for (const SeriesPoint& point : series.points()) {
    const bool has = valueOf(point) != nullptr;
    if (has && last != nullptr) take(*last, point);
    if (has || !bridging) last = has ? &point : nullptr;
  }
}

size_t countValues(const std::vector<SeriesPoint>& points) {
  size_t count = 0;
  for (const SeriesPoint& point : points) count += valueOf(point) != nullptr;
  return count;
}

// A time is needed of each value to tell whether it counts.
void requireTimes(Findings& findings, const std::vector<SeriesPoint>& points) {
  for (const SeriesPoint& point : points) {
    if (valueOf(point) != nullptr && std::isnan(point.atMs))
      findings.unclear(text("when ", point.tag, " was taken is not known"));
  }
}

// Bounds that nothing could keep are the caller's mistake.
bool areBounds(Findings& findings, double least, double most) {
  if (least <= most) return true;
  findings.fail(text("the bounds ", range(least, most), " hold for no value"));
  return false;
}

}  // namespace

SeriesVerdict::operator testing::AssertionResult() const {
  return (outcome == rpc::Outcome::PASS ? testing::AssertionSuccess() : testing::AssertionFailure()) << *this;
}

std::ostream& operator<<(std::ostream& out, const SeriesVerdict& verdict) {
  return out << (verdict.outcome == rpc::Outcome::INCONCLUSIVE ? "inconclusive: " : "") << verdict.reason;
}

SeriesVerdict SeriesPatterns::monotonic(const char* pattern, bool strict) const {
  Findings findings(*this, pattern);
  forPairs(*this, true, [&](const SeriesPoint& prior, const SeriesPoint& point) {
    const SeriesNumber before = *valueOf(prior), now = *valueOf(point);
    if (strict ? before < now : before <= now) return;
    findings.fail(text(before == now ? "no increase" : "regression", " at sample ", placeOf(point),
                       ": value ", shown(now), " after prior value ", shown(before), " at sample ",
                       placeOf(prior)));
  });
  findings.gaps(*this);
  if (countValues(points_) < 2) findings.unclear("fewer than two values");
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::nondecreasing() const {
  return monotonic("nondecreasing", false);
}

SeriesVerdict SeriesPatterns::strictlyIncreasing() const {
  return monotonic("strictlyIncreasing", true);
}

SeriesVerdict SeriesPatterns::rateWithin(double least, double most) const {
  Findings findings(*this, text("rateWithin ", range(least, most), " per ms"));
  if (!areBounds(findings, least, most)) return findings.verdict();
  size_t pairs = 0;
  forPairs(*this, false, [&](const SeriesPoint& prior, const SeriesPoint& point) {
    ++pairs;
    const std::string where = text("from ", placeOf(prior), " to ", placeOf(point));
    const double elapsed = point.atMs - prior.atMs;
    if (!(elapsed > 0)) return findings.unclear(text("no time passed ", where));
    const SeriesNumber rate = (*valueOf(point) - *valueOf(prior)) / static_cast<SeriesNumber>(elapsed);
    if (std::isfinite(rate) && rate >= least && rate <= most) return;
    findings.fail(text(shown(rate), " per ms ", where, ": value ", shown(*valueOf(prior)), " became ",
                       shown(*valueOf(point))));
  });
  findings.gaps(*this);
  if (pairs == 0) findings.unclear("no two samples in a row have a value");
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::steadyWithin(double warmupMs, double share) const {
  Findings findings(*this, text("steadyWithin ", share, " of the mean from ", warmupMs, " ms on"));
  if (!(share >= 0)) findings.fail("the share is negative");
  requireTimes(findings, points_);
  const auto counts = [&](const SeriesPoint& point) { return !(point.atMs < warmupMs); };
  SeriesNumber sum = 0;
  size_t count = 0;
  for (const SeriesPoint& point : points_) {
    if (counts(point) && valueOf(point) != nullptr) sum += *valueOf(point), ++count;
  }
  const SeriesNumber mean = count == 0 ? 0 : sum / static_cast<SeriesNumber>(count);
  const SeriesNumber away = std::fabs(mean) * static_cast<SeriesNumber>(share);
  for (const SeriesPoint& point : points_) {
    if (!counts(point) || valueOf(point) == nullptr || std::fabs(*valueOf(point) - mean) <= away) continue;
    findings.fail(text(shown(*valueOf(point)), " at sample ", placeOf(point), " is more than ", shown(away),
                       " away from the mean ", shown(mean)));
  }
  findings.gaps(*this, counts);
  if (count < 2) findings.unclear(text("fewer than two values from ", warmupMs, " ms on"));
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::convergesTo(double target, double within, double deadlineMs) const {
  Findings findings(*this,
                    text("convergesTo ", shown(target), " +-", shown(within), " by ", deadlineMs, " ms"));
  requireTimes(findings, points_);
  const auto counts = [&](const SeriesPoint& point) { return !(point.atMs > deadlineMs); };
  size_t values = 0, inRow = 0, longest = 0;
  size_t possibleInRow = 0, longestPossible = 0;  // if what is missing was near it
  std::string last;
  for (const SeriesPoint& point : points_) {
    if (!counts(point)) continue;
    const SeriesNumber* const value = valueOf(point);
    if (value != nullptr) ++values, last = text(shown(*value), " at ", placeOf(point));
    const bool near = value != nullptr && std::fabs(*value - static_cast<SeriesNumber>(target)) <=
                                              static_cast<SeriesNumber>(within);
    inRow = near ? inRow + 1 : 0;
    longest = std::max(longest, inRow);
    possibleInRow = near || value == nullptr ? possibleInRow + 1 : 0;
    longestPossible = std::max(longestPossible, possibleInRow);
  }
  findings.gaps(*this, counts);
  if (values < consecutive) {
    findings.unclear(text(values, " values up to the deadline, needs ", consecutive));
  } else if (longest < consecutive) {
    const std::string what =
        text("at most ", longest, " of ", values, " samples in a row were near it; the last was ", last);
    if (longestPossible < consecutive)
      findings.fail(what);
    else
      findings.unclear(what);
  }
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::ratioWithin(const SeriesPatterns& other, double least, double most) const {
  Findings findings(*this, text("ratioWithin ", range(least, most), " of ", other.label()));
  if (!areBounds(findings, least, most)) return findings.verdict();
  if (size() != other.size()) {
    findings.fail(text("it has ", size(), " samples, ", other.label(), " has ", other.size()));
    return findings.verdict();
  }
  for (size_t i = 0; i < size(); ++i) {
    const SeriesNumber* const value = valueOf(points_[i]);
    const SeriesNumber* const divisor = valueOf(other.points_[i]);
    if (value == nullptr || divisor == nullptr) continue;
    const std::string what = text(shown(*value), " / ", shown(*divisor), " at sample ", placeOf(points_[i]));
    if (*divisor == 0) {
      findings.unclear(what);
    } else if (const SeriesNumber ratio = *value / *divisor; !(ratio >= least && ratio <= most)) {
      findings.fail(text(what, " is ", shown(ratio)));
    }
  }
  findings.gaps(*this);
  findings.gaps(other);
  if (points_.empty()) findings.unclear("no samples");
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::everyValue(const std::string& pattern, const std::string& wanted,
                                         bool (*holds)(SeriesNumber, double, double), double least,
                                         double most) const {
  Findings findings(*this, pattern);
  for (const SeriesPoint& point : points_) {
    const SeriesNumber* const value = valueOf(point);
    if (value != nullptr && std::isnan(*value)) {
      findings.fail(text("NaN at sample ", placeOf(point), " cannot be compared"));
    } else if (value != nullptr && !holds(*value, least, most)) {
      findings.fail(text(shown(*value), " at sample ", placeOf(point), " is not ", wanted));
    } else if (value == nullptr && !isMissing(point)) {
      findings.fail(text("no value at ", placeOf(point), ": ", std::get<Error>(point.value).what()));
    }
  }
  findings.gaps(*this, isMissing);
  if (points_.empty()) findings.unclear("no samples");
  return findings.verdict();
}

SeriesVerdict SeriesPatterns::Each::atLeast(double least) const {
  return series_.everyValue(
      text("each atLeast ", shown(least)), text("at least ", shown(least)),
      [](SeriesNumber value, double low, double) { return value >= low; }, least, 0);
}

SeriesVerdict SeriesPatterns::Each::atMost(double most) const {
  return series_.everyValue(
      text("each atMost ", shown(most)), text("at most ", shown(most)),
      [](SeriesNumber value, double, double high) { return value <= high; }, 0, most);
}

SeriesVerdict SeriesPatterns::Each::between(double least, double most) const {
  Findings findings(series_, "each between");
  if (!areBounds(findings, least, most)) return findings.verdict();
  return series_.everyValue(
      text("each between ", range(least, most)), text("in ", range(least, most)),
      [](SeriesNumber value, double low, double high) { return value >= low && value <= high; }, least, most);
}

}  // namespace ktstr
