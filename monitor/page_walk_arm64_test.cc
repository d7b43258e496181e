#include <gtest/gtest.h>

#include <vector>

#include "monitor/page_walk.h"

namespace ktstr {
namespace {

constexpr uint64_t table = 3, page = 3, block = 1;  // bits 1:0 of a descriptor

class Arm64PageWalk : public ::testing::Test {
 protected:
  // Descriptor of an address in the table at gpa, at a level counted from 1 (Arm's level 3).
  void entry(uint64_t gpa, unsigned level, uint64_t va, uint64_t value) {
    std::memcpy(ram_.data() + gpa + ((va >> (12 + 9 * (level - 1))) & 511) * 8, &value, 8);
  }
  std::optional<uint64_t> walk(uint64_t va, unsigned levels = 4) const {
    return walkPages(memory_, {0x1000, levels, Translation::arm64}, va);
  }

 private:
  std::vector<std::byte> ram_ = std::vector<std::byte>(1 << 20);
  GuestMem memory_{{{0, 1 << 20, ram_.data()}}};
};

constexpr uint64_t va = 0xffff'8000'8123'4567;
constexpr uint64_t attributes = 0x0060'0000'0000'0f04;  // PXN, UXN, AF, shareability, memory type

TEST_F(Arm64PageWalk, FourLevelsToEachPageSize) {
  entry(0x1000, 4, va, 0x2000 | table);
  entry(0x2000, 3, va, 0x3000 | table);
  entry(0x3000, 2, va, 0x4000 | table);
  entry(0x4000, 1, va, 0x4abc'd000 | page | attributes);
  EXPECT_EQ(walk(va), 0x4abc'd567u);
  entry(0x3000, 2, va, 0x4120'0000 | block | attributes);  // 2 MiB
  EXPECT_EQ(walk(va), 0x4120'0000u | (va & 0x1f'ffff));
  entry(0x2000, 3, va, 0x4000'0000 | block | attributes);  // 1 GiB
  EXPECT_EQ(walk(va), 0x4000'0000u | (va & 0x3fff'ffff));
}

TEST_F(Arm64PageWalk, ThreeLevelsFor39Bits) {
  const uint64_t low = 0xffff'ffc0'0812'3456;
  entry(0x1000, 3, low, 0x2000 | table);
  entry(0x2000, 2, low, 0x4800'0000 | block);
  EXPECT_EQ(walk(low, 3), 0x4800'0000u | (low & 0x1f'ffff));
  EXPECT_FALSE(walk(va, 3)) << "below the 39 bits of the kernel's half";
}

TEST_F(Arm64PageWalk, RefusesReservedAbsentAndWildDescriptors) {
  EXPECT_FALSE(walk(va)) << "nothing is mapped";
  entry(0x1000, 4, va, 0x4000'0000 | block);
  EXPECT_FALSE(walk(va)) << "no blocks of 512 GiB";
  entry(0x1000, 4, va, 0x0fff'ffff'f000 | table);
  EXPECT_FALSE(walk(va)) << "a table outside RAM";
  entry(0x1000, 4, va, 0x1000 | table);  // the table is its own child, all the way down
  entry(0x1000, 3, va, 0x1000 | table);
  entry(0x1000, 2, va, 0x1000 | table);
  entry(0x1000, 1, va, 0x4000'0000 | block);
  EXPECT_FALSE(walk(va)) << "at the last level bit 1 is set or the descriptor is invalid";
  EXPECT_FALSE(walk(0x0000'8000'8123'4567)) << "the user's half";
  EXPECT_FALSE(walk(va, 5));
  EXPECT_FALSE(walk(va, 2));
}

}  // namespace
}  // namespace ktstr
