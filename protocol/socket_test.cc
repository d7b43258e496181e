#include "protocol/socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "protocol/file.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

struct Socket : testing::Test {
  Socket() {
    char name[] = "/tmp/ktstr-socket-XXXXXX";
    directory = mkdtemp(name);
    path = directory + "/test.sock";
  }
  ~Socket() noexcept override { std::filesystem::remove_all(directory); }

  std::string directory, path;
};

TEST_F(Socket, HasTheModeAskedFor) {
  for (const unsigned mode : {0600u, 0660u}) {
    const Fd listener = listenUnix(path, mode);
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, mode);
  }
}

TEST_F(Socket, TakesThePlaceOfASocketAndOfNothingElse) {
  listenUnix(path, 0600).reset();
  EXPECT_THAT(errorOf([&] { connectUnix(path); }), HasSubstr("connect-failed"));
  const Fd listener = listenUnix(path, 0600);
  EXPECT_NO_THROW(connectUnix(path));
  const std::string file = directory + "/file";
  openFile(file, O_CREAT | O_WRONLY, 0600);
  EXPECT_THAT(errorOf([&] { listenUnix(file, 0600); }), HasSubstr("listen-failed: bind " + file));
  EXPECT_TRUE(std::filesystem::is_regular_file(file));
}

TEST_F(Socket, NamesPathAndReason) {
  EXPECT_EQ(errorOf([&] { connectUnix(path); }),
            "connect-failed: connect to " + path +
                ": No such file or directory (check that its process is running)");
  EXPECT_THAT(errorOf([] { connectUnix(std::string(108, 'x')); }),
              HasSubstr("has 108 bytes, 1 to 107 are possible"));
  const std::string nowhere = directory + "/none/test.sock";
  EXPECT_THAT(errorOf([&] { listenUnix(nowhere, 0600); }),
              HasSubstr("listen-failed: bind " + nowhere + ": No such file or directory"));
}

}  // namespace
}  // namespace ktstr
