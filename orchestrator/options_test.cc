#include "orchestrator/options.h"

#include <gtest/gtest.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

TEST(Options, DurationsTakeUnits) {
  EXPECT_EQ(parseDuration("1500ms"), 1500u);
  EXPECT_EQ(parseDuration("2s"), 2000u);
  EXPECT_EQ(parseDuration("2"), 2000u);
  EXPECT_EQ(parseDuration("60m"), 3'600'000u);
}

TEST(Options, DurationsThatMeanNothingAreRefused) {
  for (const char* text : {"", "0", "0ms", "-1s", "2h", "1.5s", "61m", "99999999999999999999", "ms"}) {
    EXPECT_THROW(parseDuration(text), Error) << text;
  }
}

TEST(Options, MemoryTakesUnits) {
  EXPECT_EQ(parseMemory("512M"), 512u);
  EXPECT_EQ(parseMemory("512"), 512u);
  EXPECT_EQ(parseMemory("2G"), 2048u);
}

TEST(Options, MemoryThatMeansNothingIsRefused) {
  for (const char* text : {"", "0", "0G", "-5M", "1T", "4194304G", "12 M"}) {
    EXPECT_THROW(parseMemory(text), Error) << text;
  }
}

}  // namespace
}  // namespace ktstr
