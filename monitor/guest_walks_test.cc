// Walks through lists, trees and arrays that are as the kernel makes them, and that are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/crafted_kernel.h"
#include "monitor/guest_list.h"
#include "monitor/guest_rbtree.h"
#include "monitor/guest_xarray.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t head = 0x100;

class GuestWalks : public ::testing::Test {
 protected:
  static uint64_t va(uint64_t gpa) { return CraftedKernel::va(gpa); }
  CraftedKernel guest_{0x10'0000};
  KernelLayout layout_ = KernelLayout::fromText(test::walkLayout).value();
};

TEST_F(GuestWalks, ListUpToItsHead) {
  guest_.point(head, head);
  EXPECT_THAT(walkList(guest_.kernel(), va(head), 10).found, IsEmpty());
  guest_.point(head, 0x200);
  guest_.point(0x200, 0x300);
  guest_.point(0x300, head);
  const auto walk = walkList(guest_.kernel(), va(head), 10);
  EXPECT_THAT(walk.found, ElementsAre(va(0x200), va(0x300)));
  EXPECT_EQ(walk.problem, "");
  EXPECT_EQ(walkList(guest_.kernel(), va(head), 2).problem, "");
  EXPECT_EQ(walkList(guest_.kernel(), va(head), 1).problem, "the list has more than 1 nodes");
}

TEST_F(GuestWalks, BrokenListsEnd) {
  guest_.point(head, 0x200);
  guest_.point(0x200, 0x200);
  auto walk = walkList(guest_.kernel(), va(head), 1000);
  EXPECT_THAT(walk.found, ElementsAre(va(0x200)));
  EXPECT_THAT(walk.problem, HasSubstr("comes back"));
  guest_.put<uint64_t>(0x200, 0xdead'0000'0000'0100);  // LIST_POISON1
  walk = walkList(guest_.kernel(), va(head), 1000);
  EXPECT_THAT(walk.found, ElementsAre(va(0x200)));
  EXPECT_THAT(walk.problem, HasSubstr("0xdead000000000100, which is not in memory"));
  EXPECT_THAT(walkList(guest_.kernel(), 8, 1000).problem, HasSubstr("not in memory"));
}

TEST_F(GuestWalks, HashChainUpToNullOrNulls) {
  guest_.point(head, 0x200);
  for (const uint64_t end : {uint64_t{0}, uint64_t{1}, uint64_t{0x7fff'ffff}}) {
    guest_.put<uint64_t>(0x200, end);
    const auto walk = walkHlist(guest_.kernel(), va(head), 10);
    EXPECT_THAT(walk.found, ElementsAre(va(0x200)));
    EXPECT_EQ(walk.problem, "");
  }
  guest_.point(0x200, 0x200);
  EXPECT_THAT(walkHlist(guest_.kernel(), va(head), 10).problem, HasSubstr("comes back"));
}

// left 16, right 8
TEST_F(GuestWalks, TreeInOrder) {
  EXPECT_THAT(walkRbTree(guest_.kernel(), layout_, va(head), 10).found, IsEmpty());
  guest_.point(head, 0x400);
  guest_.point(0x400 + 16, 0x200);
  guest_.point(0x400 + 8, 0x600);
  guest_.point(0x200 + 8, 0x300);
  auto walk = walkRbTree(guest_.kernel(), layout_, va(head), 10);
  EXPECT_THAT(walk.found, ElementsAre(va(0x200), va(0x300), va(0x400), va(0x600)));
  EXPECT_EQ(walk.problem, "");
  EXPECT_THAT(walkRbTree(guest_.kernel(), layout_, va(head), 3).problem, HasSubstr("more than 3 nodes"));
  guest_.point(0x300 + 8, 0x400);
  EXPECT_THAT(walkRbTree(guest_.kernel(), layout_, va(head), 10).problem, HasSubstr("comes back"));
  guest_.put<uint64_t>(0x300 + 8, 0x1234);
  walk = walkRbTree(guest_.kernel(), layout_, va(head), 10);
  EXPECT_THAT(walk.found, ElementsAre(va(0x200), va(0x300)));
  EXPECT_THAT(walk.problem, HasSubstr("0x1234, which is not in memory"));
}

TEST_F(GuestWalks, ArrayOfOneEntryHasNoNode) {
  guest_.point(head + 8, 0x2000);
  const auto walk = walkIdr(guest_.kernel(), layout_, va(head), 10);
  ASSERT_EQ(walk.found.size(), 1u);
  EXPECT_EQ(walk.found[0].index, 0u);
  EXPECT_EQ(walk.found[0].pointer, va(0x2000));
}

TEST_F(GuestWalks, ArrayOfTwoLevels) {
  guest_.put<uint32_t>(head + 16, 1);  // idr_base
  guest_.put<uint64_t>(head + 8, va(0x1000) + 2);
  guest_.put<uint8_t>(0x1000, 6);
  guest_.put<uint64_t>(0x1000 + 40 + 8 * 3, va(0x2000) + 2);
  guest_.put<uint64_t>(0x1000 + 40 + 8 * 4, (uint64_t{257} << 2) + 2);  // XA_ZERO_ENTRY
  guest_.point(0x2000 + 40 + 8 * 5, 0x7000);
  guest_.put<uint64_t>(0x2000 + 40 + 8 * 6, 77);  // a value entry
  guest_.point(0x2000 + 40 + 8 * 63, 0x8000);
  const auto walk = walkIdr(guest_.kernel(), layout_, va(head), 10);
  EXPECT_EQ(walk.problem, "");
  ASSERT_EQ(walk.found.size(), 2u);
  EXPECT_EQ(walk.found[0].index, 1 + 3 * 64 + 5u);
  EXPECT_EQ(walk.found[0].pointer, va(0x7000));
  EXPECT_EQ(walk.found[1].index, 1 + 3 * 64 + 63u);
  EXPECT_THAT(walkIdr(guest_.kernel(), layout_, va(head), 1).problem, HasSubstr("more than 1 entries"));
}

TEST_F(GuestWalks, BrokenArraysEnd) {
  const auto problem = [&] { return walkXarray(guest_.kernel(), layout_, va(head), 1000).problem; };
  guest_.put<uint64_t>(head + 8, va(0x1000) + 2);
  guest_.put<uint8_t>(0x1000, 7);
  EXPECT_THAT(problem(), HasSubstr("a shift of 7"));
  guest_.put<uint8_t>(0x1000, 66);
  EXPECT_THAT(problem(), HasSubstr("a shift of 66"));
  guest_.put<uint8_t>(0x1000, 6);
  guest_.put<uint64_t>(0x1000 + 40, va(0x1000) + 2);
  EXPECT_THAT(problem(), HasSubstr("a shift of 6")) << "its own child";
  guest_.put<uint64_t>(0x1000 + 40, 0xffff'f000'0000'0002);
  EXPECT_THAT(problem(), HasSubstr("not in memory"));
}

// Eleven levels of nodes whose slots all lead to the next one would be 64^11 entries.
TEST_F(GuestWalks, AnArrayThatSharesItsNodesEnds) {
  guest_.put<uint64_t>(head + 8, va(0x1000) + 2);
  for (unsigned level = 0; level <= 10; ++level) {
    const uint64_t node = 0x1000 + 0x1000 * level;
    guest_.put<uint8_t>(node, static_cast<uint8_t>(60 - 6 * level));
    for (unsigned slot = 0; slot < 64 && level < 10; ++slot)
      guest_.put<uint64_t>(node + 40 + 8 * slot, va(node + 0x1000) + 2);
  }
  const auto walk = walkXarray(guest_.kernel(), layout_, va(head), 1000);
  EXPECT_THAT(walk.found, IsEmpty());
  EXPECT_EQ(walk.problem, "too many nodes");
}

TEST_F(GuestWalks, AbsentMembersAreNamed) {
  const KernelLayout none;
  EXPECT_THAT(walkIdr(guest_.kernel(), none, va(head), 10).problem, HasSubstr("idr.idr_rt"));
  EXPECT_THAT(walkRbTree(guest_.kernel(), none, va(head), 10).problem, HasSubstr("rb_node.rb_left"));
}

}  // namespace
}  // namespace ktstr
