#include "protocol/fd.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/file.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

bool isOpen(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

TEST(FdOwner, ClosesOnceAndMoves) {
  Fd first = openFile("/dev/null", O_RDONLY);
  const int number = first.get();
  EXPECT_EQ(fcntl(number, F_GETFD), FD_CLOEXEC);
  Fd second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(isOpen(number));
  const int copy = second.duplicate().get();
  EXPECT_FALSE(isOpen(copy));
  second.reset();
  EXPECT_FALSE(isOpen(number));
  EXPECT_THAT(errorOf([&] { second.duplicate(); }), HasSubstr("dup-failed"));
}

TEST(FdOwner, NamesThePathThatCannotBeOpened) {
  EXPECT_EQ(errorOf([] { openFile("/nonexistent/file", O_RDONLY); }),
            "open-failed: open /nonexistent/file: No such file or directory");
}

TEST(MappingOwner, SharesTheMemoryOfItsDescriptor) {
  const Fd memory = makeMemfd("test", 8192);
  EXPECT_EQ(fileSize(memory.get()), 8192u);
  Mapping writer(memory.get(), 0, 8192, PROT_READ | PROT_WRITE);
  const Mapping reader(memory.get(), 4096, 4096, PROT_READ);
  const Mapping moved = std::move(writer);
  moved.bytes()[4096] = std::byte{42};
  EXPECT_EQ(reader.data()[0], std::byte{42});
  EXPECT_EQ(writer.data(), nullptr);  // NOLINT(bugprone-use-after-move)
  EXPECT_THAT(errorOf([&] { Mapping(memory.get(), 1, 4096, PROT_READ); }),
              HasSubstr("map-failed: map 4096 bytes at offset 0x1"));
}

TEST(SocketPair, IsConnected) {
  const auto [left, right] = makeSocketPair();
  writeAll(left.get(), "hello");
  char buffer[8];
  EXPECT_EQ(read(right.get(), buffer, sizeof buffer), 5);
}

}  // namespace
}  // namespace ktstr
