#include "protocol/sparse.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr {
namespace {

constexpr size_t page = 4096;

// 16 pages; those named are filled with their number + 1, the others are zeros.
std::vector<std::byte> pages(std::initializer_list<size_t> filled) {
  std::vector<std::byte> bytes(16 * page);
  for (const size_t number : filled) {
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(number * page), page, std::byte(number + 1));
  }
  return bytes;
}

std::vector<std::byte> content(int fd, uint64_t offset, size_t size) {
  const Mapping mapping(fd, 0, fileSize(fd), PROT_READ);
  const auto bytes = mapping.bytes().subspan(offset, size);
  return {bytes.begin(), bytes.end()};
}

// To be asked before the content, which is read through a mapping and so allocates.
size_t allocatedPages(int fd) {
  struct stat status {};
  fstat(fd, &status);
  return static_cast<size_t>(status.st_blocks) * 512 / page;
}

TEST(WriteSparse, LeavesHolesForZeroPages) {
  const Fd file = makeMemfd("test", 64 * page);
  const auto bytes = pages({1, 2, 9, 15});
  writeSparse(file.get(), 4 * page, bytes);
  EXPECT_EQ(allocatedPages(file.get()), 4u);
  EXPECT_EQ(content(file.get(), 4 * page, bytes.size()), bytes);
}

TEST(WriteSparse, TakesPagesOfTheFileNotOfTheBytes) {
  const Fd file = makeMemfd("test", 64 * page);
  const auto bytes = pages({3});
  writeSparse(file.get(), 100, bytes);
  EXPECT_EQ(allocatedPages(file.get()), 2u);
  EXPECT_EQ(content(file.get(), 100, bytes.size()), bytes);
}

TEST(WriteSparse, NamesTheOffsetOfWhatFails) {
  const Fd file = openFile("/dev/null", O_RDONLY);
  try {
    writeSparse(file.get(), 0x2000, pages({1}));
    FAIL() << "wrote to a file opened for reading";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "write-failed");
    EXPECT_NE(error.message().find("0x3000"), std::string::npos) << error.message();
  }
}

TEST(CopySparse, CopiesDataAndLeavesHolesOut) {
  const Fd from = makeMemfd("from", 32 * page), to = makeMemfd("to", 64 * page);
  const auto bytes = pages({0, 1, 7, 15});
  writeSparse(from.get(), 8 * page, bytes);
  copySparse(from.get(), 8 * page, to.get(), 40 * page, bytes.size());
  EXPECT_EQ(allocatedPages(to.get()), 4u);
  EXPECT_EQ(content(to.get(), 40 * page, bytes.size()), bytes);
}

TEST(CopySparse, KeepsToItsRange) {
  const Fd from = makeMemfd("from", 32 * page), to = makeMemfd("to", 64 * page);
  writeSparse(from.get(), 0, pages({0, 1, 2, 3, 4}));
  copySparse(from.get(), page + 10, to.get(), 10 * page + 7, 2 * page);
  const auto copied = content(to.get(), 0, 64 * page);
  EXPECT_EQ(copied[10 * page + 6], std::byte(0));
  EXPECT_EQ(copied[10 * page + 7], std::byte(2));
  EXPECT_EQ(copied[12 * page + 6], std::byte(4));
  EXPECT_EQ(copied[12 * page + 7], std::byte(0));
}

TEST(CopySparse, CopiesFromADiskFile) {
  char path[] = "/tmp/ktstr-sparse-XXXXXX";
  const Fd from(mkostemp(path, O_CLOEXEC));
  ASSERT_TRUE(from);
  unlink(path);
  const auto bytes = pages({2, 11});
  writeSparse(from.get(), 0, bytes);
  ASSERT_EQ(ftruncate(from.get(), static_cast<off_t>(bytes.size())), 0);
  const Fd to = makeMemfd("to", 16 * page);
  copySparse(from.get(), 0, to.get(), 0, bytes.size());
  EXPECT_EQ(content(to.get(), 0, bytes.size()), bytes);
}

TEST(CopySparse, NothingButAHoleIsNothingToCopy) {
  const Fd from = makeMemfd("from", 32 * page), to = makeMemfd("to", 64 * page);
  copySparse(from.get(), page, to.get(), 0, 20 * page);
  EXPECT_EQ(allocatedPages(to.get()), 0u);
}

TEST(ReadSparse, ReadsDataAndLeavesTheRestAlone) {
  const Fd from = makeMemfd("from", 32 * page);
  const auto bytes = pages({0, 3, 15});
  writeSparse(from.get(), 4 * page, bytes);
  std::vector<std::byte> memory(bytes.size(), std::byte{0xee});
  readSparse(from.get(), 4 * page, memory);
  EXPECT_EQ(memory[0], std::byte(1));
  EXPECT_EQ(memory[page], std::byte(0xee)) << "a hole";
  EXPECT_EQ(memory[3 * page], std::byte(4));
  EXPECT_EQ(memory[16 * page - 1], std::byte(16));
  std::vector<std::byte> part(page);
  readSparse(from.get(), 7 * page + 10, part);
  EXPECT_EQ(part.front(), std::byte(4));
  EXPECT_EQ(part.back(), std::byte(0));
}

TEST(ReadSparse, SaysWhatCannotBeRead) {
  const Fd socket = makeSocketPair().first;
  std::vector<std::byte> memory(page);
  try {
    readSparse(socket.get(), 0, memory);
    FAIL() << "read a socket by offset";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "copy-failed");
  }
}

TEST(CopySparse, SaysWhatCannotBeCopied) {
  const Fd from = makeMemfd("from", 32 * page), to = openFile("/dev/null", O_RDONLY);
  writeSparse(from.get(), 0, pages({5}));
  try {
    copySparse(from.get(), 0, to.get(), 0, 16 * page);
    FAIL() << "copied to a file opened for reading";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "copy-failed");
    EXPECT_NE(error.message().find("0x5000"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace ktstr
