#include "monitor/map_write.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "monitor/crafted_bpf.h"
#include "monitor/test_btf.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

using test::CraftedKernel;

// A map .data whose value is: int level; enum mode mode; bool on; u8 tiny; u32 three:3; struct { u64 big; }
// in;
class MapWriteTest : public ::testing::Test, protected test::CraftedBpf {
 protected:
  MapWriteTest() {
    test::MadeTypes made;
    const int s32 = btf__add_int(made, "int", 4, BTF_INT_SIGNED), u64 = btf__add_int(made, "u64", 8, 0);
    const int boolean = btf__add_int(made, "_Bool", 1, BTF_INT_BOOL), u8 = btf__add_int(made, "u8", 1, 0);
    const int mode = btf__add_enum(made, "mode", 4);
    btf__add_enum_value(made, "FAST", 5);
    const int inner = btf__add_struct(made, "inner", 8);
    btf__add_field(made, "big", u64, 0, 0);
    const auto value = static_cast<uint32_t>(btf__add_struct(made, "value", 24));
    for (const auto& [name, type, bit, bits] : {std::tuple{"level", s32, 0, 0},
                                                {"mode", mode, 32, 0},
                                                {"on", boolean, 64, 0},
                                                {"tiny", u8, 72, 0},
                                                {"three", s32, 96, 3},
                                                {"in", inner, 128, 0}}) {
      made.must(btf__add_field(made, name, type, static_cast<uint32_t>(bit), static_cast<uint32_t>(bits)));
    }
    map(1, 0x3fa8, "x.data", BPF_MAP_TYPE_ARRAY, 4, 24, 1);  // its value, 64 bytes on, crosses no page
    guest_.point(0x3fa8 + 40, 0x5000);
    guest_.put<uint32_t>(0x3fa8 + 52, value);
    const auto bytes = made.bytes();
    guest_.point(0x5000, 0x5100);
    guest_.put<uint32_t>(0x5008, static_cast<uint32_t>(bytes.size()));
    guest_.putBytes(0x5100, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  PlannedMapWrite plan(const std::string& place, const std::string& value,
                       const std::string& name = ".data") const {
    return planMapWrites(guest_.kernel(), layout_, std::vector{MapWrite{name, place, value}}).at(0);
  }
  std::string refusal(const std::string& place, const std::string& value,
                      const std::string& name = ".data") const {
    try {
      plan(place, value, name);
      return "planned";
    } catch (const Error& error) {
      return error.name();
    }
  }
  static std::string hexOf(const std::vector<std::byte>& bytes) {
    std::string out;
    for (const std::byte byte : bytes) out += text(std::hex, static_cast<unsigned>(byte), " ");
    return out;
  }
};

TEST_F(MapWriteTest, ValuesByTheirType) {
  EXPECT_EQ(hexOf(plan("level", "-2").bytes), "fe ff ff ff ");
  EXPECT_EQ(hexOf(plan("mode", "FAST").bytes), "5 0 0 0 ");
  EXPECT_EQ(hexOf(plan("on", "true").bytes), "1 ");
  EXPECT_EQ(hexOf(plan("tiny", "0xff").bytes), "ff ");
  EXPECT_EQ(hexOf(plan("in.big", "18446744073709551615").bytes), "ff ff ff ff ff ff ff ff ");
  EXPECT_EQ(hexOf(plan("+20", "258").bytes), "2 1 0 0 ");
  for (const auto& [place, value] : {std::pair{"level", "2147483648"},
                                     {"level", "-2147483649"},
                                     {"level", "x"},
                                     {"level", ""},
                                     {"tiny", "256"},
                                     {"tiny", "-1"},
                                     {"on", "2"},
                                     {"mode", "SLOW"},
                                     {"in.big", "18446744073709551616"},
                                     {"+20", "4294967296"}}) {
    EXPECT_EQ(refusal(place, value), "value-invalid") << place << " = " << value;
  }
}

TEST_F(MapWriteTest, PlacesInMemory) {
  guest_.put<uint32_t>(0x3fa8 + 64 + 4, 9);
  const auto planned = plan("mode", "1");
  EXPECT_EQ(planned.map, "x.data");
  EXPECT_EQ(planned.address, CraftedKernel::va(0x3fa8 + 64 + 4));
  EXPECT_EQ(hexOf(planned.before), "9 0 0 0 ");
  ASSERT_EQ(planned.pieces.size(), 1u);
  EXPECT_EQ(planned.pieces[0].gpa, 0x3fa8u + 64 + 4);
  EXPECT_EQ(plan("in.big", "1").pieces.size(), 1u) << "it ends with the page";
  map(2, 0x6f9c, "y.data", BPF_MAP_TYPE_ARRAY, 4, 64, 1);
  const auto two = plan("+34", "1", "y.data").pieces;  // two bytes before the end of the page
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].size, 2u);
  EXPECT_EQ(two[1].gpa, 0x7000u);
  EXPECT_EQ(two[1].offset, 2u);
}

TEST_F(MapWriteTest, WhatCannotBeWrittenIsNamed) {
  EXPECT_EQ(refusal("three", "1"), "map-not-writable");
  EXPECT_EQ(refusal("in", "1"), "map-not-writable");
  EXPECT_EQ(refusal("nothing", "1"), "path-invalid");
  EXPECT_EQ(refusal("+x", "1"), "path-invalid");
  EXPECT_EQ(refusal("+21", "1"), "path-invalid");
  EXPECT_EQ(refusal("+18446744073709551615", "1"), "path-invalid");
  EXPECT_EQ(refusal("level", "1", ".bss"), "map-unknown");
  guest_.put<uint8_t>(0x3fa8 + 56, 1);
  EXPECT_EQ(refusal("level", "1"), "map-not-writable") << "frozen";
  guest_.put<uint8_t>(0x3fa8 + 56, 0);
  guest_.put<uint32_t>(0x3fa8 + 4, BPF_MAP_TYPE_HASH);
  EXPECT_EQ(refusal("level", "1"), "map-not-writable");
  guest_.put<uint32_t>(0x3fa8 + 4, BPF_MAP_TYPE_ARRAY);
  guest_.put<uint64_t>(0x3fa8 + 40, 0);
  EXPECT_EQ(refusal("level", "1"), "types-missing");
  EXPECT_EQ(refusal("+0", "1"), "planned");
}

TEST_F(MapWriteTest, OneBadWriteSpoilsThePlan) {
  const std::vector writes{MapWrite{".data", "level", "1"}, MapWrite{".data", "level", "x"}};
  EXPECT_THROW(planMapWrites(guest_.kernel(), layout_, writes), Error);
}

}  // namespace
}  // namespace ktstr
