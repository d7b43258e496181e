#include "monitor/page_walk.h"

#include <gtest/gtest.h>

#include <vector>

namespace ktstr {
namespace {

class PageWalkTest : public ::testing::Test {
 protected:
  void put(uint64_t gpa, uint64_t value) { std::memcpy(ram_.data() + gpa, &value, 8); }
  // Entry for va in the table at gpa, at a level counted from 1 (page table).
  void entry(uint64_t table, unsigned level, uint64_t va, uint64_t value) {
    put(table + ((va >> (12 + 9 * (level - 1))) & 511) * 8, value);
  }
  std::vector<std::byte> ram_ = std::vector<std::byte>(1 << 20);
  GuestMem memory_{{{0, 1 << 20, ram_.data()}}};
};

constexpr uint64_t va = 0xffff'8881'2345'6789;
constexpr uint64_t noExecute = uint64_t{1} << 63;

TEST_F(PageWalkTest, FourLevelsToEachPageSize) {
  const PageTables tables{0x1000, 4};
  entry(0x1000, 4, va, 0x2000 | 1);
  entry(0x2000, 3, va, 0x3000 | 1);
  entry(0x3000, 2, va, 0x4000 | 1);
  entry(0x4000, 1, va, 0xabcd'e000 | 1 | noExecute);
  EXPECT_EQ(walkPages(memory_, tables, va), 0xabcd'e789u);
  entry(0x3000, 2, va, 0x1240'1000 | 0x81);  // 2 MiB page; bit 12 is PAT, not address
  EXPECT_EQ(walkPages(memory_, tables, va), 0x1240'0000u | (va & 0x1f'ffff));
  entry(0x2000, 3, va, 0x4000'0000 | 0x81);  // 1 GiB page
  EXPECT_EQ(walkPages(memory_, tables, va), 0x4000'0000u | (va & 0x3fff'ffff));
}

TEST_F(PageWalkTest, FiveLevels) {
  const uint64_t high = 0xff11'0000'1234'5678;
  const PageTables tables{0x1000, 5};
  entry(0x1000, 5, high, 0x2000 | 1);
  entry(0x2000, 4, high, 0x3000 | 1);
  entry(0x3000, 3, high, 0x4000'0000 | 0x81);
  EXPECT_EQ(walkPages(memory_, tables, high), 0x4000'0000u | (high & 0x3fff'ffff));
  EXPECT_FALSE(walkPages(memory_, {0x1000, 4}, high)) << "not canonical with four levels";
}

TEST_F(PageWalkTest, RefusesAbsentAndWildEntries) {
  const PageTables tables{0x1000, 4};
  EXPECT_FALSE(walkPages(memory_, tables, va));
  entry(0x1000, 4, va, 0x0fff'ffff'f000 | 1);  // next table outside RAM
  EXPECT_FALSE(walkPages(memory_, tables, va));
  entry(0x1000, 4, va, 0x1000 | 0x81);  // page-size bit has no meaning at level 4: the table is its own child
  entry(0x1000, 3, va, 0x1000 | 1);
  EXPECT_FALSE(walkPages(memory_, {0xffff'f000, 4}, va)) << "root outside RAM";
  EXPECT_FALSE(walkPages(memory_, {0x1000, 3}, va));
  EXPECT_FALSE(walkPages(memory_, tables, 0x8000'0000'0000)) << "not canonical";
}

TEST(Canonical, ByLevels) {
  EXPECT_TRUE(isCanonical(0x7fff'ffff'ffff, 4));
  EXPECT_FALSE(isCanonical(0x8000'0000'0000, 4));
  EXPECT_TRUE(isCanonical(0x8000'0000'0000, 5));
  EXPECT_TRUE(isCanonical(0xffff'8000'0000'0000, 4));
  EXPECT_FALSE(isCanonical(0xff11'0000'0000'0000, 4));
  EXPECT_TRUE(isCanonical(0xff11'0000'0000'0000, 5));
}

TEST_F(PageWalkTest, NextMappedPassesHolesBy) {
  const PageTables tables{0x1000, 4};
  const uint64_t begin = va & ~uint64_t{0x3fff'ffff}, end = begin + (uint64_t{4} << 30);
  EXPECT_FALSE(nextMapped(memory_, tables, begin, end));
  entry(0x1000, 4, va, 0x2000 | 1);
  entry(0x2000, 3, va, 0x3000 | 1);
  entry(0x3000, 2, va, 0x4000 | 1);
  EXPECT_FALSE(nextMapped(memory_, tables, begin, end)) << "tables alone";
  entry(0x4000, 1, va, 0xabcd'e000 | 1);
  const uint64_t page = va & ~uint64_t{0xfff};
  EXPECT_EQ(nextMapped(memory_, tables, begin, end), page);
  EXPECT_EQ(nextMapped(memory_, tables, va, end), va) << "in the middle of a page";
  EXPECT_FALSE(nextMapped(memory_, tables, begin, page));
  EXPECT_FALSE(nextMapped(memory_, tables, page + 0x1000, end));
  entry(0x2000, 3, va + (uint64_t{1} << 30), 0x4000'0000 | 0x81);
  EXPECT_EQ(nextMapped(memory_, tables, page + 0x1000, end), begin + (uint64_t{1} << 30));
  EXPECT_FALSE(nextMapped(memory_, tables, ~uint64_t{0xfff}, ~uint64_t{0})) << "the last page of all";
  EXPECT_FALSE(nextMapped(memory_, {0x1000, 3}, begin, end));
  EXPECT_FALSE(nextMapped(memory_, tables, uint64_t{1} << 60, uint64_t{1} << 61)) << "not canonical";
}

}  // namespace
}  // namespace ktstr
