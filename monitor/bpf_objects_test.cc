// BPF maps and programs in a memory made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "monitor/bpf_values.h"
#include "monitor/crafted_kernel.h"
#include "monitor/map_write.h"
#include "monitor/test_btf.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t mapIdr = 0x100, progIdr = 0x140, offsets = 0x200, possible = 0x300, cpuCount = 0x308;
constexpr const char* layoutText =
    "member bpf_map.id 0 4\nmember bpf_map.map_type 4 4\nmember bpf_map.key_size 8 4\n"
    "member bpf_map.value_size 12 4\nmember bpf_map.max_entries 16 4\nmember bpf_map.map_flags 20 4\n"
    "member bpf_map.name 24 16\nmember bpf_map.btf 40 8\nmember bpf_map.btf_key_type_id 48 4\n"
    "member bpf_map.btf_value_type_id 52 4\nmember bpf_map.frozen 56 1\nmember bpf_array.value 64 0\n"
    "member bpf_array.pptrs 64 0\nmember bpf_htab.buckets 64 8\nmember bpf_htab.n_buckets 72 4\n"
    "member bucket.head 0 8\nmember bucket.#head 0 16\nmember htab_elem.key 48 0\n"
    "member bpf_prog.type 0 4\nmember bpf_prog.aux 8 8\nmember bpf_prog.stats 16 8\nmember bpf_prog_aux.id 0 "
    "4\n"
    "member bpf_prog_aux.name 8 16\nmember bpf_prog_aux.verified_insns 4 4\nmember bpf_prog_stats.cnt 0 8\n"
    "member bpf_prog_stats.nsecs 8 8\nmember bpf_prog_stats.misses 16 8\nmember btf.data 0 8\n"
    "member btf.data_size 8 4\nmember btf.base_btf 16 8\n";

class BpfObjectsTest : public ::testing::Test {
 protected:
  // One chunk of slots behind each IDR; two CPUs whose per-CPU data is 0x8000 apart.
  BpfObjectsTest() {
    for (const uint64_t idr : {mapIdr, progIdr}) {
      guest_.put<uint64_t>(idr + 8, CraftedKernel::va(node(idr)) + 2);
      guest_.put<uint8_t>(node(idr), 0);
    }
    guest_.put<uint64_t>(possible, 3);
    guest_.put<uint32_t>(cpuCount, 2);
    guest_.put<uint64_t>(offsets, CraftedKernel::va(0x8000));
    guest_.put<uint64_t>(offsets + 8, CraftedKernel::va(0x1'0000));
  }
  static uint64_t node(uint64_t idr) { return idr == mapIdr ? 0x1000 : 0x2000; }
  void map(uint32_t id, uint64_t gpa, std::string_view name, uint32_t type, uint32_t keySize,
           uint32_t valueSize, uint32_t entries) {
    guest_.point(node(mapIdr) + 40 + 8 * id, gpa);
    const uint32_t words[] = {id, type, keySize, valueSize, entries, 0};
    for (size_t i = 0; i < 6; ++i) guest_.put<uint32_t>(gpa + 4 * i, words[i]);
    guest_.putBytes(gpa + 24, name);
  }
  BpfObjects objects() const { return BpfObjects(guest_.kernel(), layout_); }
  Walk<MapEntry> entries(std::string_view name, size_t limit = 100) const {
    return readMapEntries(guest_.kernel(), layout_, findMap(objects().maps().found, name), limit);
  }
  static uint32_t word(const std::vector<std::byte>& bytes) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  CraftedKernel guest_{0x4'0000,
                       {{"map_idr", mapIdr},
                        {"prog_idr", progIdr},
                        {"__per_cpu_offset", offsets},
                        {"__cpu_possible_mask", possible},
                        {"nr_cpu_ids", cpuCount}}};
  KernelLayout layout_ = KernelLayout::fromText(text(test::walkLayout, layoutText)).value();
};

TEST_F(BpfObjectsTest, MapsByIdNameAndSuffix) {
  map(3, 0x3000, "simple.bss", BPF_MAP_TYPE_ARRAY, 4, 8, 1);
  map(7, 0x3100, "simple.data", BPF_MAP_TYPE_ARRAY, 4, 8, 1);
  map(8, 0x3200, "other.b\x1bs", 33, 0, 0, 100);
  map(9, 0x3300, "more.data", BPF_MAP_TYPE_HASH, 4, 8, 1);
  const auto maps = objects().maps();
  EXPECT_EQ(maps.problem, "");
  ASSERT_EQ(maps.found.size(), 4u);
  EXPECT_EQ(maps.found[0].address, CraftedKernel::va(0x3000));
  EXPECT_EQ(maps.found[2].name, "other.b?s");
  EXPECT_EQ(mapTypeName(maps.found[2].type), "arena");
  EXPECT_EQ(mapTypeName(maps.found[0].type), "array");
  EXPECT_EQ(mapTypeName(9999), "type 9999");
  EXPECT_EQ(findMap(maps.found, ".bss").id, 3u);
  EXPECT_EQ(findMap(maps.found, "simple.data").id, 7u);
  EXPECT_EQ(findMap(maps.found, "#8").id, 8u);
  EXPECT_THROW(findMap(maps.found, ".data"), Error) << "two of them";
  EXPECT_THROW(findMap(maps.found, ""), Error);
  try {
    findMap(maps.found, ".rodata");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.hint(), HasSubstr("simple.bss (#3), simple.data (#7)"));
  }
}

TEST_F(BpfObjectsTest, ProgramsWithTheirRuns) {
  guest_.point(node(progIdr) + 40 + 8 * 5, 0x3000);
  guest_.put<uint32_t>(0x3000, BPF_PROG_TYPE_STRUCT_OPS);
  guest_.point(0x3008, 0x3100);
  guest_.put<uint64_t>(0x3010, 0x40);  // per-CPU
  guest_.put<uint32_t>(0x3100, 5);
  guest_.put<uint32_t>(0x3104, 1234);
  guest_.putBytes(0x3108, "simple_enqueue");
  guest_.put<uint64_t>(0x8040, 10);
  guest_.put<uint64_t>(0x1'0040, 5);
  guest_.put<uint64_t>(0x1'0048, 999);
  guest_.point(node(progIdr) + 40 + 8 * 6, 0x7'0000'0000);  // nowhere
  const auto programs = objects().programs();
  ASSERT_EQ(programs.found.size(), 1u);
  const auto& program = programs.found[0];
  EXPECT_EQ(program.name, "simple_enqueue");
  EXPECT_EQ(programTypeName(program.type), "struct_ops");
  EXPECT_EQ(program.verifiedInstructions, 1234u);
  EXPECT_EQ(program.runs, 15u);
  EXPECT_EQ(program.runNanos, 999u);
}

TEST_F(BpfObjectsTest, Arrays) {
  map(1, 0x3000, "array", BPF_MAP_TYPE_ARRAY, 4, 12, 3);
  guest_.put<uint32_t>(0x3000 + 64, 11);
  guest_.put<uint32_t>(0x3000 + 64 + 16, 22);  // elements begin at multiples of eight bytes
  const auto all = entries("array");
  EXPECT_EQ(all.problem, "");
  ASSERT_EQ(all.found.size(), 3u);
  EXPECT_EQ(word(all.found[1].key), 1u);
  EXPECT_EQ(word(all.found[1].values.at(0).bytes), 22u);
  EXPECT_EQ(all.found[1].values[0].bytes.size(), 12u);
  EXPECT_FALSE(all.found[1].values[0].cpu);
  EXPECT_THAT(entries("array", 2).problem, HasSubstr("more than 2 entries"));
  const auto map = findMap(objects().maps().found, "array");
  EXPECT_EQ(arrayElement(layout_, map, 1), CraftedKernel::va(0x3000 + 64 + 16));
  EXPECT_FALSE(arrayElement(layout_, map, 3));
}

TEST_F(BpfObjectsTest, PerCpuArrays) {
  map(1, 0x3000, "stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 2);
  guest_.put<uint64_t>(0x3000 + 64 + 8, 0x80);
  guest_.put<uint32_t>(0x8080, 5);
  guest_.put<uint32_t>(0x1'0080, 6);
  const auto all = entries("stats");
  ASSERT_EQ(all.found.size(), 2u);
  EXPECT_THAT(all.found[0].values, IsEmpty()) << "its pointer is null";
  ASSERT_EQ(all.found[1].values.size(), 2u);
  EXPECT_EQ(all.found[1].values[1].cpu, 1u);
  EXPECT_EQ(word(all.found[1].values[1].bytes), 6u);
}

TEST_F(BpfObjectsTest, HashesOfBothKinds) {
  for (const bool perCpu : {false, true}) {
    map(1, 0x3000, "hash", perCpu ? BPF_MAP_TYPE_PERCPU_HASH : BPF_MAP_TYPE_LRU_HASH, 4, 4, 10);
    guest_.point(0x3000 + 64, 0x5000);
    guest_.put<uint32_t>(0x3000 + 72, 2);
    guest_.point(0x5000, 0x6000);
    guest_.put<uint64_t>(0x6000, 1);  // nulls
    guest_.put<uint64_t>(0x5010, 3);  // an empty bucket
    guest_.put<uint32_t>(0x6000 + 48, 4242);
    guest_.put<uint64_t>(0x6000 + 56, perCpu ? 0xc0 : 77);
    guest_.put<uint32_t>(0x1'00c0, 78);
    const auto all = entries("hash");
    EXPECT_EQ(all.problem, "");
    ASSERT_EQ(all.found.size(), 1u);
    EXPECT_EQ(word(all.found[0].key), 4242u);
    EXPECT_EQ(word(all.found[0].values.at(perCpu ? 1 : 0).bytes), perCpu ? 78u : 77u);
  }
}

TEST_F(BpfObjectsTest, HostileMapsEnd) {
  map(1, 0x3000, "hash", BPF_MAP_TYPE_HASH, 4, 4, 10);
  guest_.point(0x3000 + 64, 0x5000);
  guest_.put<uint32_t>(0x3000 + 72, 0xffff'ffff);
  EXPECT_THAT(entries("hash").problem, HasSubstr("implausibly large"));
  guest_.put<uint32_t>(0x3000 + 72, 1);
  guest_.point(0x5000, 0x6000);
  guest_.point(0x6000, 0x6000);
  EXPECT_THAT(entries("hash").problem, HasSubstr("bucket 0: the list comes back"));
  map(2, 0x3800, "huge", BPF_MAP_TYPE_ARRAY, 4, 0xffff'fff8, 0xffff'ffff);
  EXPECT_THAT(entries("huge").problem, HasSubstr("more than 32 MiB"));
  map(3, 0x3900, "many", BPF_MAP_TYPE_ARRAY, 4, 0, 0xffff'ffff);
  EXPECT_THAT(entries("many").problem, HasSubstr("more than 100 entries"));
  map(4, 0x3a00, "ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
  EXPECT_EQ(entries("ring").problem, "the values of ringbuf maps cannot be read");
}

TEST_F(BpfObjectsTest, TypesOfTheProgram) {
  test::MadeTypes made;
  btf__add_int(made, "unsigned int", 4, 0);
  btf__add_struct(made, "of_the_program", 4);
  btf__add_field(made, "x", 1, 0, 0);
  const auto bytes = made.bytes();
  guest_.point(0x4000, 0x4100);
  guest_.put<uint32_t>(0x4008, static_cast<uint32_t>(bytes.size()));
  guest_.putBytes(0x4100, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const auto read = [&] { return readProgramTypes(guest_.kernel(), layout_, CraftedKernel::va(0x4000)); };
  ASSERT_TRUE(read().types) << read().problem;
  EXPECT_EQ(read().types->member("of_the_program", "x").field, (Field{0, 4}));
  guest_.put<uint32_t>(0x4008, 0xffff'ffff);
  EXPECT_EQ(read().problem, "its types are not in memory");
  guest_.put<uint32_t>(0x4008, 64);
  EXPECT_THAT(read().problem, HasSubstr("libbpf refuses"));
  guest_.put<uint64_t>(0x4010, 8);
  EXPECT_EQ(read().problem, "its types are a module's");
  EXPECT_EQ(readProgramTypes(guest_.kernel(), layout_, 0).problem, "the map has no types (BTF)");
}

// A map .data whose value is: int level; enum mode mode; bool on; u8 tiny; u32 three:3; struct { u64 big; }
// in;
class MapWriteTest : public BpfObjectsTest {
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
      made.must(btf__add_field(made, name, type, static_cast<uint32_t>(bit), bits));
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

TEST_F(BpfObjectsTest, AKernelWithoutTheSymbolsSaysSo) {
  CraftedKernel empty(0x1000);
  const BpfObjects objects(empty.kernel(), layout_);
  EXPECT_EQ(objects.maps().problem, "no symbol map_idr");
  EXPECT_EQ(objects.programs().problem, "no symbol prog_idr");
}

}  // namespace
}  // namespace ktstr
