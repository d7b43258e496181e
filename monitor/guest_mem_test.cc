#include "monitor/guest_mem.h"

#include <gtest/gtest.h>

#include <array>

#include "protocol/error.h"

namespace ktstr {
namespace {

class GuestMemTest : public ::testing::Test {
 protected:
  GuestMemTest() {
    for (size_t i = 0; i < low_.size(); ++i) low_[i] = static_cast<std::byte>(i);
    for (size_t i = 0; i < next_.size(); ++i) next_[i] = static_cast<std::byte>(0x80 + i);
  }
  alignas(8) std::array<std::byte, 64> low_{};
  alignas(8) std::array<std::byte, 32> next_{};
  // Not adjacent on the host, adjacent in the guest; and one at the very end of the address space.
  GuestMem memory_{
      {{0x1040, 32, next_.data()}, {0x1000, 64, low_.data()}, {~uint64_t{0} - 31, 31, next_.data()}}};
};

TEST_F(GuestMemTest, ReadsScalarsInsideOneRegion) {
  EXPECT_EQ(memory_.read<uint8_t>(0x1003), 3);
  EXPECT_EQ(memory_.read<uint32_t>(0x1004), 0x07060504u);
  EXPECT_EQ(memory_.read<uint64_t>(0x1038), 0x3f3e3d3c3b3a3938u);
  EXPECT_EQ(memory_.read<uint32_t>(0x1001), 0x04030201u) << "unaligned";
  EXPECT_EQ(memory_.read<uint16_t>(0x1040), 0x8180);
}

TEST_F(GuestMemTest, RefusesWhatIsNotThere) {
  EXPECT_FALSE(memory_.read<uint8_t>(0xfff));
  EXPECT_FALSE(memory_.read<uint8_t>(0x1060));
  EXPECT_FALSE(memory_.read<uint64_t>(0x103c)) << "across regions";
  EXPECT_FALSE(memory_.read<uint64_t>(~uint64_t{0} - 6)) << "wraps around";
  EXPECT_FALSE(memory_.bytes(0x1000, 0));
  EXPECT_FALSE(memory_.bytes(0x1000, 65));
  EXPECT_FALSE(memory_.bytes(0x1000, ~uint64_t{0}));
  EXPECT_TRUE(memory_.bytesUpTo(0x2000, 10).empty());
}

TEST_F(GuestMemTest, ViewsWithoutCopy) {
  EXPECT_EQ(memory_.bytes(0x1010, 16)->data(), low_.data() + 16);
  EXPECT_EQ(memory_.bytesUpTo(0x1030, 1000).size(), 16u);
  EXPECT_EQ(memory_.bytesUpTo(0x1030, 4).size(), 4u);
}

TEST_F(GuestMemTest, CopiesAcrossAdjoiningRegions) {
  std::array<std::byte, 8> out;
  ASSERT_TRUE(memory_.copy(0x103c, out));
  EXPECT_EQ(out[3], std::byte{0x3f});
  EXPECT_EQ(out[4], std::byte{0x80});
  std::array<std::byte, 64> tooMuch;
  EXPECT_FALSE(memory_.copy(0x1030, tooMuch));
  EXPECT_FALSE(memory_.copy(~uint64_t{0} - 31, tooMuch));
}

TEST(GuestMem, RefusesBadRegions) {
  std::array<std::byte, 16> bytes;
  EXPECT_THROW(GuestMem({}), Error);
  EXPECT_THROW(GuestMem({{0, 0, bytes.data()}}), Error);
  EXPECT_THROW(GuestMem({{0, 16, bytes.data()}, {15, 16, bytes.data()}}), Error);
  EXPECT_THROW(GuestMem({{~uint64_t{0} - 3, 16, bytes.data()}}), Error);
}

}  // namespace
}  // namespace ktstr
