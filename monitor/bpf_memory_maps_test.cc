// Maps that are memory rather than entries: arenas and ring buffers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "monitor/crafted_bpf.h"

namespace ktstr {
namespace {

using namespace test;
using ::testing::HasSubstr;

constexpr const char* memoryLayout =
    "member bpf_arena.kern_vm 64 8\nmember bpf_arena.user_vm_start 72 8\nmember bpf_arena.scratch_page 80 8\n"
    "member vm_struct.addr 8 8\nmember page.#flags 0 64\nmember bpf_ringbuf_map.rb 64 8\n"
    "member bpf_ringbuf.mask 56 8\nmember bpf_ringbuf.consumer_pos 64 8\nmember bpf_ringbuf.producer_pos 72 "
    "8\n"
    "member bpf_ringbuf.overwrite_pos 80 8\nmember bpf_ringbuf.data 128 0\n";
constexpr uint64_t mapGpa = 0x3000, areaGpa = 0x3200, ringGpa = 0x3400, tablesGpa = 0x1'8000,
                   pagesGpa = 0x2'0000;
constexpr uint64_t areaVa = 0xffff'c900'0000'0000, vmemmap = 0x500;

class MemoryMaps : public ::testing::Test, protected CraftedBpf {
 protected:
  MemoryMaps() : CraftedBpf({{"vmemmap_base", vmemmap}}, memoryLayout, tablesGpa) {
    guest_.put<uint64_t>(vmemmap, 0xffff'ea00'0000'0000);
  }
  // Maps page `number` of the arena to a page of RAM.
  void mapPage(uint64_t number, uint64_t gpa) {
    const uint64_t va = areaVa + 0x8000 + number * 4096;
    uint64_t table = tablesGpa;
    for (unsigned level = 4; level > 1; --level, table += 0x1000)
      guest_.put<uint64_t>(table + ((va >> (12 + 9 * (level - 1))) & 511) * 8, (table + 0x1000) | 3);
    guest_.put<uint64_t>(table + ((va >> 12) & 511) * 8, gpa | 3);
  }
  void makeArena() {
    map(1, mapGpa, "arena", arenaMapType, 0, 0, 1 << 20);
    guest_.point(mapGpa + 64, areaGpa);
    guest_.put<uint64_t>(mapGpa + 72, uint64_t{1} << 44);
    guest_.put<uint64_t>(mapGpa + 80, 0xffff'ea00'0000'0000 + 64 * (pagesGpa + 0x2000) / 4096);
    guest_.put<uint64_t>(areaGpa + 8, areaVa);
  }
  // A buffer of 64 bytes whose data is mapped twice, as far as a record needs it.
  void makeRing(uint64_t consumer, uint64_t producer) {
    map(1, mapGpa, "ring", BPF_MAP_TYPE_RINGBUF, 0, 0, 64);
    guest_.point(mapGpa + 64, ringGpa);
    guest_.put<uint64_t>(ringGpa + 56, 63);
    guest_.put<uint64_t>(ringGpa + 64, consumer);
    guest_.put<uint64_t>(ringGpa + 72, producer);
  }
  void record(uint64_t position, uint32_t header, std::string_view bytes) {
    guest_.put<uint32_t>(ringGpa + 128 + position % 64, header);
    guest_.putBytes(ringGpa + 128 + position % 64 + 8, bytes);
  }
  static std::string textOf(const MapEntry& entry) {
    const auto& bytes = entry.values.at(0).bytes;
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static uint64_t position(const MapEntry& entry) { return loadGuest<uint64_t>(entry.key.data()); }
};

TEST_F(MemoryMaps, PagesOfAnArena) {
  makeArena();
  EXPECT_TRUE(entries("arena").found.empty());
  mapPage(1, pagesGpa);
  mapPage(3, pagesGpa + 0x1000);
  mapPage(4, pagesGpa + 0x2000);  // the scratch page
  guest_.putBytes(pagesGpa + 0x1000, "hello");
  const auto arena = entries("arena");
  EXPECT_EQ(arena.problem, "");
  ASSERT_EQ(arena.found.size(), 2u);
  EXPECT_EQ(word(arena.found[0].key), 1u);
  EXPECT_EQ(word(arena.found[1].key), 3u);
  ASSERT_EQ(arena.found[1].values.size(), 1u);
  EXPECT_EQ(arena.found[1].values[0].bytes.size(), 4096u);
  EXPECT_EQ(textOf(arena.found[1]).substr(0, 5), "hello");
  EXPECT_EQ(arena.found[1].values[0].address, areaVa + 0x8000 + 3 * 4096);
  EXPECT_THAT(entries("arena", 1).problem, HasSubstr("more than 1 entries"));
}

TEST_F(MemoryMaps, AnArenaWhoseAreaIsNowhere) {
  makeArena();
  guest_.put<uint64_t>(mapGpa + 64, 0xdead'beef'dead'beef);
  EXPECT_THAT(entries("arena").problem, HasSubstr("not in memory"));
  guest_.point(mapGpa + 64, areaGpa);
  for (const uint64_t wild : {uint64_t{0}, ~uint64_t{0}, ~uint64_t{0xfff}, uint64_t{1} << 62}) {
    guest_.put<uint64_t>(areaGpa + 8, wild);
    EXPECT_TRUE(entries("arena").found.empty()) << wild;
  }
}

TEST_F(MemoryMaps, RecordsOfARingBuffer) {
  makeRing(128, 128 + 16 + 24 + 16);
  record(128, 5, "first");
  record(144, 16 | 1u << 30, "thrown away");
  record(168, 3, "end");
  const auto ring = entries("ring");
  EXPECT_EQ(ring.problem, "");
  ASSERT_EQ(ring.found.size(), 2u);
  EXPECT_EQ(position(ring.found[0]), 128u);
  EXPECT_EQ(textOf(ring.found[0]), "first");
  EXPECT_EQ(position(ring.found[1]), 168u);
  EXPECT_EQ(textOf(ring.found[1]), "end");
  guest_.put<uint64_t>(ringGpa + 80, 168);
  EXPECT_EQ(entries("ring").found.size(), 1u) << "the others were overwritten";
}

TEST_F(MemoryMaps, ARecordThatIsStillWritten) {
  makeRing(0, 48);
  record(0, 1, "a");
  record(16, 8 | 1u << 31, "half");
  const auto ring = entries("ring");
  ASSERT_EQ(ring.found.size(), 1u);
  EXPECT_EQ(ring.problem, "the record at 16 is still written");
  record(16, 1000, "longer than what was produced");
  EXPECT_THAT(entries("ring").problem, HasSubstr("the record at 16"));
}

TEST_F(MemoryMaps, PositionsThatMakeNoSense) {
  for (const auto& [consumer, producer] :
       {std::pair<uint64_t, uint64_t>{16, 8}, {0, 72}, {4, 16}, {8, ~uint64_t{7}}}) {
    makeRing(consumer, producer);
    EXPECT_THAT(entries("ring").problem, HasSubstr("make no sense")) << consumer << ' ' << producer;
  }
  makeRing(0, 0);
  EXPECT_EQ(entries("ring").problem, "");
  guest_.put<uint64_t>(ringGpa + 56, ~uint64_t{0});
  EXPECT_THAT(entries("ring").problem, HasSubstr("make no sense"));
}

}  // namespace
}  // namespace ktstr
