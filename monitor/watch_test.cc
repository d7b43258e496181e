#include "monitor/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "monitor/attach.h"
#include "monitor/crafted_bpf.h"
#include "monitor/test_btf.h"
#include "monitor/test_kernel.h"
#include "protocol/test_error.h"

namespace ktstr {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

auto change(const std::string& expression, const std::string& before, const std::string& after) {
  return AllOf(Field(&WatchChange::expression, expression), Field(&WatchChange::before, before),
               Field(&WatchChange::after, after));
}

TEST(WatchExpressionTest, PartsAreTold) {
  const auto symbol = parseWatch("scx_root");
  EXPECT_EQ(symbol.address, "scx_root");
  EXPECT_EQ(symbol.comparison, WatchComparison::none);
  const auto typed = parseWatch("*scx_root  scx_sched exit_kind.counter != 0");
  EXPECT_EQ(typed.address, "*scx_root");
  EXPECT_EQ(typed.type, "scx_sched");
  EXPECT_EQ(typed.path, "exit_kind.counter");
  EXPECT_EQ(typed.comparison, WatchComparison::unequal);
  EXPECT_EQ(typed.operand, "0");
  const auto map = parseWatch(".bss:ctx[1].n >= -5");
  EXPECT_EQ(map.map, ".bss");
  EXPECT_EQ(map.path, "ctx[1].n");
  EXPECT_EQ(map.comparison, WatchComparison::greaterEqual);
}

TEST(WatchExpressionTest, WhatNamesNothingIsRefused) {
  for (const char* expression : {"", "  ", "> 5", "a b c d", "a > > 5", "a >", "> 5 a", ":x", "a b c > 5 6"})
    EXPECT_THAT(errorOf([&] { parseWatch(expression); }), StartsWith("watch-invalid: ")) << expression;
}

TEST(WatchExpressionTest, ComparesNumbersExactlyAndTexts) {
  const auto keeps = [](const char* value, const char* sign, const char* operand) {
    return keepsComparison(value, parseWatch(std::string("a ") + sign + " " + operand).comparison, operand);
  };
  EXPECT_TRUE(keeps("18446744073709551615", ">", "18446744073709551614"));
  EXPECT_FALSE(keeps("-3", ">", "-3"));
  EXPECT_TRUE(keeps("-3", ">=", "-3"));
  EXPECT_TRUE(keeps("1.5", "<", "2"));
  EXPECT_TRUE(keeps("255", "==", "0xff"));
  EXPECT_TRUE(keeps("2", "<=", "2.0"));
  EXPECT_TRUE(keeps("FAST", "==", "FAST"));
  EXPECT_TRUE(keeps("FAST", "!=", "0"));
  EXPECT_THAT(errorOf([&] { keeps("FAST", "<", "5"); }), StartsWith("watch-invalid: \"FAST\" is no number"));
  EXPECT_THAT(errorOf([&] { keeps("5", "<", "FAST"); }), StartsWith("watch-invalid: \"FAST\" is no number"));
}

// A kernel with symbols and types, without maps.
class WatchTest : public testing::Test {
 protected:
  WatchTest() {
    Attacher attacher(ram_, {}, {});
    attachment_ = attacher.attempt();
    EXPECT_TRUE(attachment_) << attacher.reason();
  }
  WatchedGuest guest() {
    return {*attachment_->kernel, attachment_->analysis->layout(), attachment_->analysis->symbols()};
  }
  void add(const std::string& expression) { watches_.add(expression, guest()); }
  std::vector<WatchChange> look() { return watches_.look(guest()); }
  std::string refusal(const std::string& expression) {
    return errorOf([&] { add(expression); });
  }
  test::TestKernel kernel_;
  RamFile ram_ = kernel_.ram();
  std::optional<Attachment> attachment_;
  Watches watches_;
};

TEST_F(WatchTest, ASymbolsNumber) {
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 5);
  add("scx_root");
  EXPECT_THAT(look(), IsEmpty());
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 6);
  EXPECT_THAT(look(), ElementsAre(change("scx_root", "5", "6")));
  EXPECT_THAT(look(), IsEmpty()) << "told once";
}

TEST_F(WatchTest, ACpusCopyOfAPerCpuVariable) {
  add("runqueues@2 rq nr_running");
  EXPECT_THAT(look(), IsEmpty());
  kernel_.run(1, 10, 118, "yes", 7, 5);
  EXPECT_THAT(look(), IsEmpty()) << "that is another CPU";
  kernel_.run(2, 10, 118, "yes", 3, 5);
  EXPECT_THAT(look(), ElementsAre(change("runqueues@2 rq nr_running", "0", "3")));
  EXPECT_THAT(refusal("runqueues@77 rq nr_running"), StartsWith("not-in-memory: "));
}

TEST_F(WatchTest, AMemberBehindAPointerThatMoves) {
  EXPECT_THAT(refusal("*scx_root scx_sched ops.name"), StartsWith("not-in-memory: "));
  kernel_.attachScheduler("simple");
  add("*scx_root scx_sched ops.name");
  EXPECT_THAT(look(), IsEmpty());
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 0);
  EXPECT_THAT(look(), IsEmpty()) << "nothing to compare with";
  kernel_.attachScheduler("central");
  EXPECT_THAT(look(), ElementsAre(change("*scx_root scx_sched ops.name", R"("simple")", R"("central")")));
}

TEST_F(WatchTest, AComparisonIsAHitWhenItBeginsToHold) {
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 5);
  add("scx_root > 5");
  add("scx_root < 6");
  EXPECT_THAT(look(), ElementsAre(change("scx_root < 6", "", "5"))) << "it held from the start";
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 7);
  EXPECT_THAT(look(), ElementsAre(change("scx_root > 5", "5", "7")));
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 8);
  EXPECT_THAT(look(), IsEmpty()) << "it still holds";
  kernel_.put<uint64_t>(kernel_.symbolGpa("scx_root"), 1);
  EXPECT_THAT(look(), ElementsAre(change("scx_root < 6", "8", "1")));
}

TEST_F(WatchTest, WhatMeansNothingIsRefusedByName) {
  EXPECT_THAT(refusal("nothing"), StartsWith("symbol-unknown: "));
  EXPECT_THAT(refusal("0x12g"), StartsWith("address-invalid: "));
  EXPECT_THAT(refusal("scx_root no_type"), StartsWith("type-unknown: "));
  EXPECT_THAT(refusal("scx_root task_struct nope"), StartsWith("path-invalid: "));
  EXPECT_THAT(refusal("*0x1000 task_struct"), StartsWith("not-in-memory: "));
  EXPECT_THAT(refusal(".bss:x"), StartsWith("map-unknown: "));
  kernel_.attachScheduler("simple");
  EXPECT_THAT(refusal("*scx_root scx_sched ops.name > 5"), StartsWith("watch-invalid: "));
  for (size_t i = 0; i < Watches::most; ++i) add("scx_root");
  EXPECT_THAT(refusal("scx_root"), StartsWith("too-many-watches: "));
}

// A map x.bss whose value is: int level; u32 three:3; struct { u64 big; } in;
class WatchMapTest : public testing::Test, protected test::CraftedBpf {
 protected:
  WatchMapTest() {
    const auto value = types();
    map(1, 0x3000, "x.bss", BPF_MAP_TYPE_ARRAY, 4, 24, 1);
    guest_.point(0x3000 + 40, 0x5000);
    guest_.put<uint32_t>(0x3000 + 52, value);
    map(2, 0x4000, "hash", BPF_MAP_TYPE_HASH, 4, 24, 1);
  }
  uint32_t types() {
    test::MadeTypes made;
    const int s32 = btf__add_int(made, "int", 4, BTF_INT_SIGNED), u64 = btf__add_int(made, "u64", 8, 0);
    const int inner = btf__add_struct(made, "inner", 8);
    btf__add_field(made, "big", u64, 0, 0);
    const auto value = static_cast<uint32_t>(btf__add_struct(made, "value", 24));
    made.must(btf__add_field(made, "level", s32, 0, 0));
    made.must(btf__add_field(made, "three", u64, 64 + 5, 3));
    made.must(btf__add_field(made, "in", inner, 128, 0));
    const auto bytes = made.bytes();
    guest_.point(0x5000, 0x5100);
    guest_.put<uint32_t>(0x5008, static_cast<uint32_t>(bytes.size()));
    guest_.putBytes(0x5100, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return value;
  }
  WatchedGuest guest() { return {guest_.kernel(), layout_, guest_.symbols()}; }
  Watches watches_;
  static constexpr uint64_t valueAt = 0x3000 + 64;
};

TEST_F(WatchMapTest, PathsIntoAMapsValue) {
  watches_.add(".bss:level", guest());
  watches_.add(".bss:in.big", guest());
  watches_.add(".bss:three", guest());
  EXPECT_THAT(watches_.look(guest()), IsEmpty());
  guest_.put<int32_t>(valueAt, -7);
  guest_.put<uint64_t>(valueAt + 16, 1);
  EXPECT_THAT(watches_.look(guest()),
              ElementsAre(change(".bss:level", "0", "-7"), change(".bss:in.big", "0", "1")));
  guest_.put<uint64_t>(valueAt + 8, 5 << 5);
  EXPECT_THAT(watches_.look(guest()), ElementsAre(change(".bss:three", "0", "5")));
}

TEST_F(WatchMapTest, AnotherSchedulersMapOfTheSameName) {
  guest_.put<int32_t>(valueAt, 3);
  watches_.add(".bss:level", guest());
  guest_.put<uint64_t>(node(test::mapIdr) + 40 + 8, 0);  // the first scheduler leaves
  guest_.put<uint32_t>(0x3000, 0);
  EXPECT_THAT(watches_.look(guest()), IsEmpty());
  map(3, 0x6000, "y.bss", BPF_MAP_TYPE_ARRAY, 4, 24, 1);
  guest_.point(0x6000 + 40, 0x5000);
  guest_.put<uint32_t>(0x6000 + 52,
                       guest_.kernel().read<uint32_t>(test::CraftedKernel::va(0x3000 + 52)).value());
  guest_.put<int32_t>(0x6000 + 64, 4);
  EXPECT_THAT(watches_.look(guest()), ElementsAre(change(".bss:level", "3", "4")));
}

TEST_F(WatchMapTest, OnlyArraysHaveTheOneValue) {
  EXPECT_THAT(errorOf([&] { watches_.add("hash:x", guest()); }),
              StartsWith("watch-invalid: hash is of type"));
  EXPECT_THAT(errorOf([&] { watches_.add(".bss:nope", guest()); }),
              AllOf(StartsWith("path-invalid: "), HasSubstr("level")));
}

}  // namespace
}  // namespace ktstr
