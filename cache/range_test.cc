#include "cache/range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/test_images.h"
#include "protocol/error.h"

namespace ktstr::cache {
namespace {

using testing::ElementsAre;

const std::vector<std::string> there = {"7.3.4", "6.9.1", "6.16.12", "7.0.13", "6.16.3", "7.30.1", "6.18.15"};

std::vector<std::string> expand(const char* range) {
  return specsOf(*parseKernelRange(range), there);
}

TEST(KernelRanges, StandForTheSeriesBetweenInTheOrderOfVersions) {
  EXPECT_THAT(expand("debian:6.9..7.3"),
              ElementsAre("debian:6.9", "debian:6.16", "debian:6.18", "debian:7.0", "debian:7.3"));
  EXPECT_THAT(expand("debian:6.10..6.17"), ElementsAre("debian:6.16"));
  EXPECT_THAT(expand("debian:7.3..7.3"), ElementsAre("debian:7.3"));
  EXPECT_THAT(expand("debian:6.18..7.0:generic"), ElementsAre("debian:6.18:generic", "debian:7.0:generic"));
}

TEST(KernelRanges, WithNothingInThemSayWhatThereIs) {
  for (const char* empty : {"debian:7.1..7.2", "debian:7.3..6.9", "debian:8.0..9.0"}) {
    try {
      expand(empty);
      FAIL() << empty;
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "kernel-range-empty");
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_EQ(error.hint(), "there are 6.9, 6.16, 6.18, 7.0, 7.3, 7.30");
    }
  }
}

TEST(KernelRanges, AreWhatHasTwoSeries) {
  EXPECT_EQ(parseKernelRange("debian:6.16..7.0:cloud")->text(), "debian:6.16..7.0");
  EXPECT_EQ(parseKernelRange("debian:6.16..7.0:rt")->text(), "debian:6.16..7.0:rt");
  for (const char* none : {"debian:7.3", "../vmlinuz", "6.16..7.0", "debian:7.3/../x", ""})
    EXPECT_FALSE(parseKernelRange(none)) << none;
  for (const char* bad :
       {"debian:..", "debian:6.16..", "debian:..7.0", "debian:6..7.0", "debian:6.16..7.0.1",
        "debian:6.16...7.0", "debian:6.16..=7.0", "debian:6.16..7.0:fast", "debian:6.16..7.0..7.1"})
    EXPECT_EQ(test::errorName([&] { parseKernelRange(bad); }), "kernel-spec-invalid") << bad;
}

}  // namespace
}  // namespace ktstr::cache
