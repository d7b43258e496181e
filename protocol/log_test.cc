#include "protocol/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace ktstr {
namespace {

using testing::HasSubstr;

std::string logged(const char* level, const char* format) {
  setenv("KTSTR_LOG", level, 1);
  setenv("KTSTR_LOG_FORMAT", format, 1);
  testing::internal::CaptureStderr();
  log::start("ktstr-test");
  log::debug("a debug line");
  log::info("an info line");
  log::warn("quote \" newline \n escape \x1b[31m");
  log::error("an error line");
  log::audit("an audit line");
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesTextThatCannotSteerATerminal) {
  const std::string text = logged("warn", "text");
  EXPECT_THAT(text, HasSubstr(" warn ktstr-test: quote \" newline \\n escape \\x1b[31m\n"));
  EXPECT_THAT(text, HasSubstr(" error ktstr-test: an error line\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(Log, TellsWhatIsAuditedAtEveryLevel) {
  for (const char* level : {"error", "audit", "off", "warn", ""}) {
    EXPECT_THAT(logged(level, "text"), HasSubstr(" audit ktstr-test: an audit line\n")) << level;
  }
  EXPECT_THAT(logged("error", "json"), HasSubstr("\"level\":\"audit\""));
}

TEST(Log, WritesJsonLines) {
  std::istringstream lines(logged("debug", "json"));
  std::vector<nlohmann::json> records;
  for (std::string line; std::getline(lines, line);) records.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(records[0]["level"], "debug");
  EXPECT_EQ(records[2]["message"], "quote \" newline \n escape \x1b[31m");
  EXPECT_EQ(records[2]["process"], "ktstr-test");
  EXPECT_EQ(records[2]["pid"], getpid());
  EXPECT_THAT(records[2]["time"].get<std::string>(), testing::MatchesRegex("....-..-..T..:..:..\\....Z"));
}

TEST(Log, SaysWhenItsSettingsAreWrong) {
  const std::string text = logged("loud", "xml");
  EXPECT_THAT(text, HasSubstr("KTSTR_LOG=loud is none of debug, info, warn, error"));
  EXPECT_THAT(text, HasSubstr("KTSTR_LOG_FORMAT=xml is neither text nor json"));
  EXPECT_THAT(text, Not(HasSubstr("an info line")));
}

}  // namespace
}  // namespace ktstr
