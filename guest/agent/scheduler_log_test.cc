#include "guest/agent/scheduler_log.h"

#include <gtest/gtest.h>

#include <vector>

namespace ktstr::agent {
namespace {

struct Sink {
  std::vector<std::string> pieces;
  SchedulerLog log{[this](const std::string& piece) { pieces.push_back(piece); }};
  std::string all() const {
    std::string joined;
    for (const auto& piece : pieces) joined += piece;
    return joined;
  }
};

TEST(SchedulerLogTest, PassesWholeLinesAsTheyCome) {
  Sink sink;
  sink.log.feed("one\ntwo\nthr");
  EXPECT_EQ(sink.all(), "one\ntwo\n");
  sink.log.feed("ee\n");
  EXPECT_EQ(sink.all(), "one\ntwo\nthree\n");
  sink.log.feed("no newline");
  sink.log.finish();
  EXPECT_EQ(sink.all(), "one\ntwo\nthree\nno newline");
}

TEST(SchedulerLogTest, CutsLongLines) {
  Sink sink;
  sink.log.feed(std::string(10000, 'x'));
  sink.log.finish();
  EXPECT_EQ(sink.all().size(), 10000U);
  for (const auto& piece : sink.pieces) EXPECT_LE(piece.size(), SchedulerLog::pieceBytes);
}

TEST(SchedulerLogTest, KeepsTheBeginningAndTheEnd) {
  Sink sink;
  std::string given;
  for (int line = 0; line < 100000; line++) given += "line " + std::to_string(line) + "\n";
  for (size_t at = 0; at < given.size(); at += 1000) sink.log.feed(std::string_view(given).substr(at, 1000));
  sink.log.finish();
  const std::string got = sink.all();
  EXPECT_LE(got.size(), SchedulerLog::headBytes + SchedulerLog::pieceBytes + SchedulerLog::tailBytes + 100);
  EXPECT_EQ(got.substr(0, 100000), given.substr(0, 100000));
  EXPECT_EQ(got.substr(got.size() - 60000), given.substr(given.size() - 60000));
  const size_t gap = got.find('[');
  ASSERT_NE(gap, std::string::npos);
  const size_t missing = std::stoul(got.substr(gap + 1));
  const size_t remark = got.find('\n', gap) + 1 - gap;
  EXPECT_EQ(got.size() - remark + missing, given.size());
}

TEST(SchedulerLogTest, MakesUtf8) {
  EXPECT_EQ(toUtf8("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(toUtf8("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(toUtf8("a\xff"), "a\xef\xbf\xbd");
  EXPECT_EQ(toUtf8("\xc3"), "\xef\xbf\xbd");
  EXPECT_EQ(toUtf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(toUtf8(std::string_view("\0", 1)), "\xef\xbf\xbd");
}

TEST(SchedulerLogTest, WordsAreTheFirstAndTheLastLines) {
  Sink sink;
  EXPECT_EQ(sink.log.words(), "");
  sink.log.feed("invalid option\nusage:\n");
  EXPECT_EQ(sink.log.words(), "invalid option\nusage:");
  for (int line = 0; line < 1000; line++) sink.log.feed("  option " + std::to_string(line) + "\n");
  const std::string words = sink.log.words();
  EXPECT_EQ(words.find("invalid option\nusage:\n  option 0\n"), 0U);
  EXPECT_NE(words.find("\n[...]\n  option "), std::string::npos);
  EXPECT_EQ(words.substr(words.size() - 10), "option 999");
  EXPECT_LT(words.size(), 1500U);
}

}  // namespace
}  // namespace ktstr::agent
