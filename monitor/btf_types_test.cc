#include "monitor/btf_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/kernel_layout.h"
#include "monitor/test_btf.h"
#include "monitor/test_kernel.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using namespace test::offsets;

TEST(BtfTypes, FindsMembersByPath) {
  const BtfTypes types(test::makeBtf());
  EXPECT_EQ(types.member("rq", "nr_running").field, (Field{rqNrRunning, 4}));
  EXPECT_EQ(types.member("rq", "clock").field, (Field{rqClock, 8}));
  EXPECT_EQ(types.member("rq", "curr").field, (Field{rqCurr, 8})) << "in an anonymous union";
  EXPECT_EQ(types.member("rq", "scx.local_dsq.nr").field, (Field{rqScx + scxLocalDsq + dsqNr, 4}))
      << "through a typedef";
  EXPECT_EQ(types.member("task_struct", "comm").field, (Field{taskComm, 16})) << "an array";
}

TEST(BtfTypes, NamesWhatIsAbsent) {
  const BtfTypes types(test::makeBtf());
  EXPECT_EQ(types.member("no_such", "x").problem, "no struct no_such");
  EXPECT_EQ(types.member("rq", "scx.local_dsq.nonsense").problem, "no member nonsense");
  EXPECT_EQ(types.member("rq", "curr.pid").problem, "no member pid") << "not through a pointer";
  EXPECT_EQ(types.member("with_bits", "narrow").problem, "narrow is a bit field");
  EXPECT_EQ(types.member("with_bits", "wide").field, (Field{4, 4}));
  EXPECT_TRUE(types.enumerators("rq").empty());
}

TEST(BtfTypes, RefusesGarbage) {
  const auto good = test::makeBtf();
  EXPECT_THROW(BtfTypes(std::vector<std::byte>(100)), Error);
  EXPECT_THROW(BtfTypes(std::span(good).first(good.size() / 2)), Error);
  EXPECT_THROW(BtfTypes(std::span<const std::byte>()), Error);
}

TEST(KernelLayout, RoundTripsAsText) {
  const auto layout = KernelLayout::fromBtf(BtfTypes(test::makeBtf(false)));
  EXPECT_EQ(layout.member("rq.clock"), (Field{rqClock, 8}));
  EXPECT_FALSE(layout.member("rq.scx.flags"));
  EXPECT_THAT(layout.absent(), ::testing::Contains("rq.scx.flags: no member scx"));
  EXPECT_THAT(layout.absent(), ::testing::Contains("scx_enable_state.enabled: no enum scx_enable_state"));
  const auto again = KernelLayout::fromText(layout.toText());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->toText(), layout.toText());
  EXPECT_FALSE(KernelLayout::fromText("member rq.clock 12 x\n"));
  EXPECT_FALSE(KernelLayout::fromText("member rq.clock 99999999 4\n"));
  EXPECT_FALSE(KernelLayout::fromText("nonsense\n"));
}

TEST(KernelLayout, KnowsStatesByTheEndOfTheirName) {
  const auto layout = KernelLayout::fromBtf(BtfTypes(test::makeBtf()));
  EXPECT_EQ(layout.constant("scx_enable_state.enabling"), 0);
  EXPECT_EQ(layout.constant("scx_enable_state.enabled"), 1);
  EXPECT_EQ(layout.constant("scx_enable_state.disabled"), 3);
  EXPECT_TRUE(layout.absent().empty());
}

TEST(KernelLayout, OfTheRunningKernel) {
  const auto btf = readFileIfThere("/sys/kernel/btf/vmlinux", size_t{64} << 20);
  if (!btf) GTEST_SKIP() << "/sys/kernel/btf/vmlinux cannot be read";
  const auto layout = KernelLayout::fromBtf(BtfTypes(std::as_bytes(std::span(*btf))));
  EXPECT_TRUE(layout.member("rq.clock"));
  EXPECT_TRUE(layout.member("rq.curr"));
  EXPECT_EQ(layout.member("task_struct.comm")->size, 16u);
}

TEST(BtfTypes, AllMembersSizesAndFlexibleArrays) {
  test::MadeTypes made;
  const int u32 = btf__add_int(made, "u32", 4, 0), flexible = btf__add_array(made, u32, u32, 0);
  btf__add_struct(made, "bucket", 8);
  btf__add_field(made, "other", u32, 0, 0);
  btf__add_struct(made, "bucket", 16);
  btf__add_field(made, "head", u32, 32, 0);
  btf__add_field(made, "not an identifier", u32, 64, 0);
  btf__add_field(made, "bits", u32, 96, 3);
  btf__add_field(made, "rest", flexible, 128, 0);
  auto types = made.types();
  types.lookUp({"bucket", "nothing"});
  EXPECT_EQ(types.sizeWith("bucket", "head").field, (Field{0, 16})) << "the second of the name";
  EXPECT_EQ(types.sizeWith("bucket", "nope").problem, "no member nope");
  EXPECT_EQ(types.sizeWith("nothing", "head").problem, "no struct nothing");
  EXPECT_EQ(types.member("bucket", "rest").field, (Field{16, 0}));
  const auto first = types.members("bucket");
  ASSERT_EQ(first.size(), 1u) << "the first of the name";
  EXPECT_EQ(first[0].name, "other");
  EXPECT_TRUE(types.members("nothing").empty());
}

// A struct of 60,000 members, and 100,000 structs of one name, each with nothing but that one inside.
TEST(BtfTypes, ManyStructsOfANameAreOneLookup) {
  test::MadeTypes made;
  const int u8 = btf__add_int(made, "u8", 1, 0);
  const int big = btf__add_struct(made, "big", 60'000);
  for (uint32_t i = 0; i < 60'000; ++i) made.must(btf__add_field(made, "a", u8, 8 * i, 0));
  for (unsigned i = 0; i < 100'000; ++i) {
    made.must(btf__add_struct(made, "rq", 60'000));
    made.must(btf__add_field(made, "", big, 0, 0));
  }
  const BtfTypes types = made.types();
  EXPECT_EQ(types.member("rq", "clock").problem, "no member clock, as far as was looked");
  EXPECT_EQ(types.sizeWith("rq", "clock").problem, "no member clock, as far as was looked");
  EXPECT_EQ(types.member("rq", "a").field, (Field{0, 1}));
}

TEST(BtfTypes, EnumsAreListedUpToALimit) {
  test::MadeTypes made;
  btf__add_enum(made, "many", 4);
  for (int i = 0; i < 1000; ++i) made.must(btf__add_enum_value(made, text("VALUE_", i).c_str(), i));
  EXPECT_EQ(made.types().enumerators("many").size(), 256u);
}

}  // namespace
}  // namespace ktstr
