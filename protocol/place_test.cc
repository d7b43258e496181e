#include "protocol/place.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace ktstr {
namespace {

// Puts a variable back as it was.
class Kept {
 public:
  explicit Kept(const char* name) : name_(name) {
    if (const char* value = getenv(name)) value_ = value;
  }
  ~Kept() { value_ ? setenv(name_, value_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> value_;
};

std::string place() {
  return userPlace("KTSTR_TEST_DIR", "XDG_TEST_HOME", ".test");
}

TEST(UserPlace, TakesTheFirstThatIsSet) {
  const Kept home("HOME");
  setenv("KTSTR_TEST_DIR", "/one", 1);
  setenv("XDG_TEST_HOME", "/two", 1);
  setenv("HOME", "/three", 1);
  EXPECT_EQ(place(), "/one");
  setenv("KTSTR_TEST_DIR", "here", 1);
  EXPECT_EQ(place(), std::filesystem::current_path() / "here");
  unsetenv("KTSTR_TEST_DIR");
  EXPECT_EQ(place(), "/two/ktstr");
  setenv("XDG_TEST_HOME", "relative", 1);  // the specification: to be ignored
  EXPECT_EQ(place(), "/three/.test/ktstr");
  unsetenv("XDG_TEST_HOME");
  EXPECT_EQ(place(), "/three/.test/ktstr");
}

TEST(UserPlace, AsksTheUserDatabaseWithoutHome) {
  const Kept home("HOME");
  unsetenv("HOME");
  const passwd* user = getpwuid(geteuid());
  if (user == nullptr) GTEST_SKIP() << "user " << geteuid() << " is in no user database";
  EXPECT_EQ(place(), std::string(user->pw_dir) + "/.test/ktstr");
}

}  // namespace
}  // namespace ktstr
