// BPF maps and programs in a memory made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>

#include "monitor/bpf_values.h"
#include "monitor/crafted_bpf.h"
#include "monitor/test_btf.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::CraftedKernel;
using test::progIdr;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BpfObjectsTest : public ::testing::Test, protected test::CraftedBpf {};

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

TEST_F(BpfObjectsTest, TheArenaOfAProgramThatUsesAMap) {
  map(1, 0x3000, "task_ctx", BPF_MAP_TYPE_TASK_STORAGE, 4, 8, 0);
  map(2, 0x3100, "arena", arenaMapType, 0, 0, 16);
  const auto task = findMap(objects().maps().found, "task_ctx");
  EXPECT_FALSE(objects().arenaBeside(task));
  for (const uint64_t program : {0x4000u, 0x4800u}) {
    guest_.point(node(progIdr) + 40 + program % 0x1000 / 0x100, program);
    guest_.point(program + 8, program + 0x100);
    guest_.point(program + 0x100 + 32, program + 0x200);
    guest_.put<uint32_t>(program + 0x100 + 40, 2);
    guest_.point(program + 0x100 + 48, 0x3100);
    guest_.point(program + 0x200, 0x3100);
  }
  EXPECT_FALSE(objects().arenaBeside(task)) << "both use the arena alone";
  guest_.point(0x4800 + 0x208, 0x3000);
  EXPECT_EQ(objects().arenaBeside(task), CraftedKernel::va(0x3100));
  EXPECT_EQ(objects().usedMaps(CraftedKernel::va(0x4800)).size(), 2u);
  guest_.put<uint32_t>(0x4800 + 0x100 + 40, 0xffff'ffff);
  EXPECT_LE(objects().usedMaps(CraftedKernel::va(0x4800)).size(), 256u);
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
  map(4, 0x3a00, "queue", BPF_MAP_TYPE_QUEUE, 0, 0, 4096);
  EXPECT_EQ(entries("queue").problem, "the values of queue maps cannot be read");
}

TEST_F(BpfObjectsTest, ProgramsByNameOrTheEndOfOne) {
  std::vector<BpfProgram> all(3);
  for (uint32_t i = 0; i < 3; ++i) {
    all[i].id = i + 1;
    all[i].name = std::array{"simple_init", "simple_enqueue", "enqueue"}[i];
  }
  const auto ids = [&](std::string_view wanted) {
    std::vector<uint32_t> found;
    for (const auto& program : matchPrograms(all, wanted)) found.push_back(program.id);
    return found;
  };
  EXPECT_THAT(ids("enqueue"), ::testing::ElementsAre(3));
  EXPECT_THAT(ids("queue"), ::testing::ElementsAre(2, 3));
  EXPECT_THAT(ids("#1"), ::testing::ElementsAre(1));
  EXPECT_THAT(ids("nope"), ::testing::IsEmpty());
}

// As many CPUs as there can be, all with the same memory.
class ManyCpus : public ::testing::Test, protected test::CraftedBpf {
 protected:
  ManyCpus()
      : CraftedBpf(
            {{"__per_cpu_offset", 0x2'0000}, {"__cpu_possible_mask", 0x3'0000}, {"nr_cpu_ids", 0x3'1000}}) {
    for (uint32_t cpu = 0; cpu < maxGuestCpus; ++cpu)
      guest_.put<uint64_t>(0x2'0000 + 8 * cpu, CraftedKernel::va(0x8000));
    for (uint32_t word = 0; word < maxGuestCpus / 64; ++word)
      guest_.put<uint64_t>(0x3'0000 + 8 * word, ~uint64_t{0});
    guest_.put<uint32_t>(0x3'1000, 0xffff'ffff);
  }
};

TEST_F(ManyCpus, ValuesWithoutBytesCostMemoryToo) {
  map(1, 0x3000, "stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 0, 1 << 20);
  for (uint64_t at = 0x3040; at < 0x1'0000; at += 8) guest_.put<uint64_t>(at, 0x40);
  const auto all = entries("stats", 1 << 20);
  EXPECT_THAT(all.problem, HasSubstr("more than 32 MiB"));
  size_t values = 0;
  for (const auto& entry : all.found) values += entry.values.size();
  EXPECT_LE(values * sizeof(MapEntry::Value), maxMapBytes);
}

TEST_F(ManyCpus, RunsAreCountedUpToALimit) {
  const uint64_t program = 0x4000, aux = 0x4100;
  guest_.point(program + 8, aux);
  guest_.put<uint64_t>(program + 16, 0x40);
  guest_.put<uint32_t>(aux, 12);
  guest_.put<uint8_t>(node(progIdr), 6);  // a node of nodes, all of them one
  guest_.put<uint8_t>(0x5000, 0);
  for (uint64_t slot = 0; slot < 64; ++slot) {
    guest_.put<uint64_t>(node(progIdr) + 40 + 8 * slot, CraftedKernel::va(0x5000) + 2);
    guest_.point(0x5000 + 40 + 8 * slot, program);
  }
  const auto all = objects().programs();
  ASSERT_EQ(all.found.size(), 4096u);
  EXPECT_THAT(all.problem, HasSubstr("no runs of program #12 and those after it"));
  EXPECT_TRUE(all.found.front().runs);
  EXPECT_FALSE(all.found.back().runs);
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

TEST_F(BpfObjectsTest, AKernelWithoutTheSymbolsSaysSo) {
  CraftedKernel empty(0x1000);
  const BpfObjects objects(empty.kernel(), layout_);
  EXPECT_EQ(objects.maps().problem, "no symbol map_idr");
  EXPECT_EQ(objects.programs().problem, "no symbol prog_idr");
}

}  // namespace
}  // namespace ktstr
