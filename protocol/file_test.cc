#include "protocol/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

TEST(Files, AreReadWithinALimit) {
  const Fd file = makeMemfd("test", 0);
  writeAll(file.get(), std::string(100'000, 'x'));
  EXPECT_EQ(readAll(file.get()), std::string(100'000, 'x'));
  EXPECT_THAT(errorOf([&] { readAll(file.get(), 99'999); }),
              HasSubstr("file-too-large: more than 99999 bytes"));
  EXPECT_FALSE(readFileIfThere("/nonexistent/file"));
  EXPECT_THAT(readFile("/proc/self/status"), HasSubstr("Name:"));
}

TEST(Files, SayThatTheDiskIsFull) {
  const Fd full = openFile("/dev/full", O_WRONLY);
  EXPECT_EQ(errorOf([&] { writeAll(full.get(), "x"); }),
            "disk-full: write 1 bytes: No space left on device (free some space and run again)");
  EXPECT_THAT(errorOf([&] { writeAll(-1, "x"); }), HasSubstr("write-failed"));
}

}  // namespace
}  // namespace ktstr
