#include "orchestrator/huge_memory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "protocol/file.h"
#include "protocol/test_error.h"
#include "protocol/test_huge_pages.h"

namespace ktstr {
namespace {

using testing::HasSubstr;

TEST(HugePages, HoldTheContentAndAreOfThatSize) {
  const HugePagePool pool(4);
  if (freeHugePages() < 4) GTEST_SKIP() << "no huge pages of 2 MiB here, and none can be made";
  const Fd ram = makeMemfd("ram", 4 * hugePageBytes);
  ASSERT_EQ(pwrite(ram.get(), "first", 5, 4096), 5);
  ASSERT_EQ(pwrite(ram.get(), "last", 4, static_cast<off_t>(4 * hugePageBytes) - 4), 4);
  const Fd huge = moveToHugePages(ram.get(), {{0, 4 * hugePageBytes, 0}});
  struct stat status {};
  ASSERT_EQ(fstat(huge.get(), &status), 0);
  EXPECT_EQ(status.st_blksize, static_cast<blksize_t>(hugePageBytes));
  EXPECT_EQ(status.st_size, static_cast<off_t>(4 * hugePageBytes));
  EXPECT_EQ(fcntl(huge.get(), F_GET_SEALS), 0) << "still to be sealed";
  const Mapping mapping(huge.get(), 0, 4 * hugePageBytes, PROT_READ);
  EXPECT_EQ(memcmp(mapping.data() + 4096, "first", 5), 0);
  EXPECT_EQ(memcmp(mapping.data() + 4 * hugePageBytes - 4, "last", 4), 0);
  EXPECT_EQ(mapping.data()[hugePageBytes], std::byte{0});
}

TEST(HugePages, AreMissedByNameWithTheCommandThatMakesThem) {
  const std::string message = errorOf([] { checkHugePages((freeHugePages() + 7) * hugePageBytes); });
  EXPECT_THAT(message, HasSubstr("hugepages-too-few: guest RAM needs "));
  EXPECT_THAT(message, HasSubstr("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"));
  EXPECT_EQ(errorOf([] { checkHugePages(freeHugePages() * hugePageBytes); }), "no error");
  const uint64_t pages = freeHugePages() + 1;
  const Fd ram = makeMemfd("ram", pages * hugePageBytes);
  EXPECT_THAT(errorOf([&] {
                moveToHugePages(ram.get(), {{0, pages * hugePageBytes, 0}});
              }),
              HasSubstr("hugepages-too-few"));
}

TEST(HugePages, AreRefusedOnANodeThatIsNotThere) {
  const HugePagePool pool(1);
  if (freeHugePages() < 1) GTEST_SKIP() << "no huge pages of 2 MiB here, and none can be made";
  const Fd ram = makeMemfd("ram", hugePageBytes);
  EXPECT_THAT(errorOf([&] {
                moveToHugePages(ram.get(), {{0, hugePageBytes, 900}});
              }),
              HasSubstr("memory-not-bound"));
}

}  // namespace
}  // namespace ktstr
