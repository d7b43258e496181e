#include "monitor/renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/crafted_kernel.h"
#include "monitor/test_btf.h"
#include "protocol/error.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using ::testing::HasSubstr;

class RendererTest : public ::testing::Test {
 protected:
  struct Field {
    const char* name;
    int type;
    uint32_t bit, bits = 0;
  };
  int addStruct(const char* name, uint32_t size, const std::vector<Field>& fields, bool isUnion = false) {
    const int id = isUnion ? btf__add_union(made_, name, size) : btf__add_struct(made_, name, size);
    for (const auto& [own, type, bit, bits] : fields) made_.must(btf__add_field(made_, own, type, bit, bits));
    return id;
  }
  // struct whole { u32 a; short b; bool c; union { u64 x; u8 y[4]; }; u32 low:5, high:3; int neg:4;
  //                struct { char name[8]; enum state state; } in[2]; double d; struct chain *next; };
  // struct chain { u32 number; struct chain *next; };
  RendererTest() {
    const int u8 = btf__add_int(made_, "unsigned char", 1, 0),
              s32 = btf__add_int(made_, "int", 4, BTF_INT_SIGNED);
    const int letter = btf__add_int(made_, "char", 1, BTF_INT_CHAR), u32 = btf__add_int(made_, "u32", 4, 0);
    const int s16 = btf__add_int(made_, "short", 2, BTF_INT_SIGNED), u64 = btf__add_int(made_, "u64", 8, 0);
    const int boolean = btf__add_int(made_, "_Bool", 1, BTF_INT_BOOL),
              real = btf__add_float(made_, "double", 8);
    const int state = btf__add_enum(made_, "state", 4);
    made_.must(btf__add_enum_value(made_, "IDLE", 0));
    made_.must(btf__add_enum_value(made_, "BUSY", 7));
    const int text8 = btf__add_array(made_, u32, letter, 8), bytes = btf__add_array(made_, u32, u8, 4);
    const int inner = addStruct("inner", 12, {{"name", text8, 0}, {"state", state, 64}});
    const int pair = btf__add_array(made_, u32, inner, 2);
    const int either = addStruct("", 8, {{"x", u64, 0}, {"y", bytes, 0}}, true);
    const int chain = static_cast<int>(btf__type_cnt(made_)) + 1;
    const int pointer = btf__add_ptr(made_, chain);
    EXPECT_EQ(addStruct("chain", 16, {{"number", u32, 0}, {"next", pointer, 64}}), chain);
    addStruct("whole", 72,
              {{"a", u32, 0},
               {"b", s16, 32},
               {"c", boolean, 48},
               {"", either, 64},
               {"low", u32, 128, 5},
               {"high", u32, 133, 3},
               {"neg", s32, 136, 4},
               {"in", pair, 192},
               {"d", real, 384},
               {"next", pointer, 448},
               {"late", u64, 8 * 70}});
    const int variable = btf__add_var(made_, "counter", BTF_VAR_GLOBAL_ALLOCATED, u64);
    made_.must(btf__add_datasec(made_, ".bss", 16));
    made_.must(btf__add_datasec_var_info(made_, variable, 8, 8));
    types_.emplace(made_.types());
  }
  Value render(std::string_view type, std::string_view path = "", RenderLimits limits = {}) {
    const auto place = resolvePath(*types_, findType(*types_, type), path);
    return Renderer(*types_, guest_.kernel(), limits).render(place, bytes_);
  }
  std::string json(std::string_view type, std::string_view path = "", RenderLimits limits = {}) {
    return valueAsJson(render(type, path, limits));
  }
  template <typename T>
  void set(size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }

  template <typename T>
  static void put(MapEntry& entry, size_t offset, T value) {
    std::memcpy(entry.values.at(0).bytes.data() + offset, &value, sizeof value);
  }

  test::MadeTypes made_;
  std::optional<BtfTypes> types_;
  CraftedKernel guest_{0x1'0000, {{"variable", 0x500}}};
  std::vector<std::byte> bytes_ = std::vector<std::byte>(72);
};

TEST_F(RendererTest, EveryKindOfMember) {
  set<uint32_t>(0, 4'000'000'000);
  set<int16_t>(4, -5);
  set<uint8_t>(6, 1);
  set<uint64_t>(8, 0x0000'0001'0403'0201);
  set<uint8_t>(16, 9 | 6 << 5);
  set<uint8_t>(17, 0xd);
  std::memcpy(bytes_.data() + 24, "scx\0old", 7);
  set<uint32_t>(32, 7);
  std::memcpy(bytes_.data() + 36, "\x80", 1);
  set<uint32_t>(44, 3);
  set<double>(48, 0.5);
  EXPECT_EQ(
      json("struct whole"),
      R"({"a":4000000000,"b":-5,"c":true,"x":4362273281,"y":[1,2,3,4],"low":9,"high":6,"neg":-3,)"
      R"("in":[{"name":"scx","state":"BUSY"},{"name":[128,0,0,0,0,0,0,0],"state":3}],"d":0.5,"next":null,)"
      R"("late":{"absent":"beyond the end of the value"}})");
}

TEST(Renderer, NumbersOfEverySize) {
  test::MadeTypes made;
  const int wide = btf__add_int(made, "__int128", 16, 0), single = btf__add_float(made, "float", 4),
            real = btf__add_float(made, "double", 8), extended = btf__add_float(made, "long double", 16);
  const int big = btf__add_enum64(made, "big", 8, false);
  made.must(btf__add_enum64_value(made, "HUGE", 0x1234'5678'9abc'def0));
  const int below = btf__add_enum64(made, "below", 8, true);
  made.must(btf__add_enum64_value(made, "LOWEST", static_cast<uint64_t>(-5)));
  const int some = btf__add_enum(made, "some", 4);
  made.must(btf__add_enum_value(made, "MINUS", -1));
  const int rest = btf__add_array(made, static_cast<int>(btf__type_cnt(made)) - 1, real, 0);
  btf__add_struct(made, "all", 80);
  for (const auto& [name, type, at] : {std::tuple{"wide", wide, 0u},
                                       {"single", single, 16u},
                                       {"some", some, 20u},
                                       {"real", real, 24u},
                                       {"big", big, 32u},
                                       {"below", below, 40u},
                                       {"extended", extended, 48u},
                                       {"rest", rest, 80u}})
    made.must(btf__add_field(made, name, type, 8 * at, 0));
  const BtfTypes types = made.types();
  const CraftedKernel guest(4096);
  std::vector<std::byte> bytes(80);
  const auto set = [&](size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  const auto json = [&](const char* path) {
    const auto place = resolvePath(types, findType(types, "all"), path);
    return valueAsJson(Renderer(types, guest.kernel()).render(place, bytes));
  };
  set(0, uint64_t{0x1122'3344'5566'7788}), set(8, uint64_t{1});
  set(16, 1.5f), set(20, int32_t{-1}), set(24, -0.25);
  set(32, uint64_t{0x1234'5678'9abc'def0}), set(40, int64_t{-5});
  EXPECT_EQ(json("wide"), R"("0x00000000000000011122334455667788")");
  EXPECT_EQ(json("single"), "1.5");
  EXPECT_EQ(json("real"), "-0.25");
  EXPECT_EQ(json("some"), R"("MINUS")");
  EXPECT_EQ(json("big"), R"("HUGE")");
  EXPECT_EQ(json("below"), R"("LOWEST")");
  set(20, int32_t{-2}), set(32, ~uint64_t{0}), set(40, int64_t{-6});
  EXPECT_EQ(json("some"), "-2");
  EXPECT_EQ(json("big"), "18446744073709551615");
  EXPECT_EQ(json("below"), "-6");
  EXPECT_THAT(json("extended"), HasSubstr("values of its type cannot be shown"));
  EXPECT_EQ(json("rest"), "[]");
  EXPECT_THAT(json(""), HasSubstr(R"("rest":[])"));
}

// A struct that has itself inside, not a pointer to it; a typedef and an array of themselves.
TEST(Renderer, TypesThatHaveThemselvesInsideEnd) {
  test::MadeTypes made;
  const int u32 = btf__add_int(made, "u32", 4, 0);
  const int node = btf__add_struct(made, "node", 16);
  made.must(btf__add_field(made, "number", u32, 0, 0));
  made.must(btf__add_field(made, "inner", node, 0, 0));
  made.must(btf__add_field(made, "", node, 0, 0));
  const int circle = static_cast<int>(btf__type_cnt(made));
  made.must(btf__add_typedef(made, "circle", circle));
  const int endless = static_cast<int>(btf__type_cnt(made));
  made.must(btf__add_array(made, u32, endless, 2));
  btf__add_struct(made, "holder", 16);
  made.must(btf__add_field(made, "typedef_", circle, 0, 0));
  made.must(btf__add_field(made, "array_", endless, 0, 0));
  const BtfTypes types = made.types();
  const CraftedKernel guest(4096);
  const std::vector<std::byte> bytes(16);
  const auto shown = [&](const char* type) {
    return valueAsJson(
        Renderer(types, guest.kernel(), {.values = 1000}).render({findType(types, type), 0, 0, 0}, bytes));
  };
  EXPECT_THAT(shown("node"), ::testing::AnyOf(HasSubstr("too deep"), HasSubstr("too many values")));
  EXPECT_THAT(shown("holder"), HasSubstr("its type has no size"));
}

TEST_F(RendererTest, PathsLeadToParts) {
  set<uint8_t>(16, 9 | 6 << 5);
  set<uint32_t>(44, 7);
  EXPECT_EQ(json("whole", "high"), "6");
  EXPECT_EQ(json("whole", "in[1].state"), "\"BUSY\"");
  EXPECT_EQ(json("whole", "y[3]"), "0");
  set<uint64_t>(8, 77);
  EXPECT_EQ(json(".bss"), R"({"counter":77})");
  EXPECT_EQ(json(".bss", "counter"), "77");
}

TEST_F(RendererTest, WrongPathsSayWhatThereIs) {
  const auto refusal = [&](std::string_view path) -> std::string {
    try {
      return json("whole", path);
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_THAT(refusal("nothing"), HasSubstr("struct whole has no member nothing"));
  EXPECT_THAT(refusal("nothing"), HasSubstr("it has a, b, c, low"));
  EXPECT_THAT(refusal("in[2]"), HasSubstr("there is no element 2"));
  EXPECT_THAT(refusal("in[x]"), HasSubstr("[x] is no index"));
  EXPECT_THAT(refusal("a[0]"), HasSubstr("u32 is no array"));
  EXPECT_THAT(refusal("in[0"), HasSubstr("a [ without ]"));
  EXPECT_THAT(refusal("in..a"), HasSubstr("an empty name"));
  EXPECT_THAT(refusal("in[0].state.x"), HasSubstr("enum state has no member x"));
  EXPECT_THROW(render("no_such_type"), Error);
}

TEST_F(RendererTest, PointersAreShownOrFollowed) {
  set<uint64_t>(56, kernelMapBase + 0x504);
  EXPECT_EQ(json("whole", "next"), "\"0xffffffff80000504 variable+0x4\"");
  set<uint64_t>(56, CraftedKernel::va(0x1000));
  guest_.put<uint32_t>(0x1000, 1);
  guest_.point(0x1008, 0x2000);
  guest_.put<uint32_t>(0x2000, 2);
  guest_.point(0x2008, 0x1000);
  EXPECT_EQ(json("whole", "next"), "\"0xffff888000001000\"");
  EXPECT_EQ(json("whole", "next", {.hops = 1}),
            R"({"@":"0xffff888000001000","number":1,"next":"0xffff888000002000"})");
  EXPECT_THAT(json("whole", "next", {.hops = 9}), HasSubstr("\"next\":\"0xffff888000001000 (above)\"}}"));
  set<uint64_t>(56, 0x1234);
  EXPECT_EQ(json("whole", "next", {.hops = 9}), "\"0x1234 (not in memory)\"");
}

TEST_F(RendererTest, PlacesWithoutASymbolMayHaveANameAllTheSame) {
  const PlaceNames names = {{0xffff'c900'0000'1000, "qmap_enqueue"}};
  set<uint64_t>(56, 0xffff'c900'0000'1000);
  Renderer renderer(*types_, guest_.kernel(), {}, &names);
  EXPECT_EQ(valueAsJson(renderer.render(resolvePath(*types_, findType(*types_, "whole"), "next"), bytes_)),
            R"("0xffffc90000001000 qmap_enqueue")");
}

TEST_F(RendererTest, PointersIntoAnArenaAreFollowedInItsPages) {
  constexpr uint64_t start = uint64_t{1} << 44;
  std::vector<MapEntry> pages;
  for (const uint32_t number : {2u, 3u}) {
    MapEntry& own = pages.emplace_back();
    own.key.resize(4);
    std::memcpy(own.key.data(), &number, 4);
    own.values.push_back({{}, 0, std::vector<std::byte>(4096)});
  }
  const uint64_t across = start + 3 * 4096 - 4, nowhere = start + 4 * 4096;
  put(pages[0], 4092, uint32_t{11});
  put(pages[1], 4, nowhere);
  const ArenaView arena(start, pages);
  set<uint64_t>(56, across);
  const auto shown = [&](RenderLimits limits) {
    Renderer renderer(*types_, guest_.kernel(), limits, nullptr, &arena);
    return valueAsJson(renderer.render(resolvePath(*types_, findType(*types_, "whole"), "next"), bytes_));
  };
  EXPECT_EQ(shown({.hops = 5}), R"("0x100000002ffc")");
  EXPECT_EQ(shown({.arenaHops = 1}), R"({"@":"0x100000002ffc","number":11,"next":"0x100000004000"})");
  EXPECT_THAT(shown({.arenaHops = 2}), HasSubstr("0x100000004000 (not in memory)"));
  put(pages[1], 4, across);
  EXPECT_THAT(shown({.arenaHops = 9}), HasSubstr("0x100000002ffc (above)"));
}

TEST_F(RendererTest, LimitsEndWithAWord) {
  EXPECT_EQ(json("whole", "y", {.elements = 2}), R"([0,0,{"absent":"2 more elements"}])");
  EXPECT_THAT(json("whole", "", {.values = 6}), HasSubstr("absent"));
  EXPECT_THAT(json("whole", "", {.depth = 1}), HasSubstr("too deep"));
  set<uint64_t>(56, CraftedKernel::va(0x1000));
  EXPECT_THAT(json("whole", "next", {.hops = 1, .followedBytes = 15}), HasSubstr("too much to follow"));
}

TEST_F(RendererTest, TextIsIndented) {
  std::memcpy(bytes_.data() + 24, "scx", 3);
  EXPECT_EQ(valueAsText(render("whole", "in")),
            "[0]:\n  name: scx\n  state: IDLE\n[1]:\n  name: \n  state: IDLE");
  EXPECT_EQ(valueAsText(render("whole", "y")), "0 0 0 0");
}

TEST_F(RendererTest, NamesOfTypes) {
  EXPECT_EQ(typeName(*types_, findType(*types_, "whole")), "struct whole");
  EXPECT_EQ(typeName(*types_, resolvePath(*types_, findType(*types_, "whole"), "in").typeId),
            "struct inner[2]");
  EXPECT_EQ(typeName(*types_, resolvePath(*types_, findType(*types_, "whole"), "next").typeId),
            "struct chain *");
  EXPECT_EQ(typeName(*types_, 99999), "void");
}

TEST(Value, JsonIsEscaped) {
  Value value = Value::object();
  value.add("a\"b", Value::named("x\\\n\x1b\xff")).add("l", Value::list()).add("n", {Value::Kind::null});
  EXPECT_EQ(valueAsJson(value), R"({"a\"b":"x\\\u000a\u001b\u00ff","l":[],"n":null})");
}

}  // namespace
}  // namespace ktstr
