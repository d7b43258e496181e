// Values kept for each task and cgroup.
#include "monitor/local_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include "monitor/crafted_bpf.h"

namespace ktstr {
namespace {

using namespace test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* otherMembers =
    "member task_struct.pid 0 4\nmember task_struct.comm 8 16\nmember cgroup.kn 0 8\n"
    "member kernfs_node.name 0 8\nmember kernfs_node.__parent 8 8\n";
constexpr uint64_t mapGpa = 0x3000, bucketsGpa = 0x3100, taskGpa = 0x6000, cgroupGpa = 0x7000,
                   nodeGpa = 0x7100;

class LocalStorage : public ::testing::Test, protected CraftedBpf {
 protected:
  LocalStorage() : CraftedBpf({}, std::string(localStorageLayout) + otherMembers) {
    const uint64_t top = nodeGpa + 0x40;
    guest_.point(cgroupGpa, nodeGpa);
    guest_.point(nodeGpa, nodeGpa + 0x80);
    guest_.point(nodeGpa + 8, top);
    guest_.point(top, nodeGpa + 0xc0);  // of no characters
    guest_.putBytes(nodeGpa + 0x80, "workers");
  }
  // A map with two buckets that are empty.
  void makeMap(uint32_t type) {
    map(1, mapGpa, "task_ctx", type, 4, 8, 0);
    guest_.point(mapGpa + 64, bucketsGpa);
    guest_.put<uint32_t>(mapGpa + 72, 1);
    for (const uint64_t bucket : {0u, 1u}) guest_.put<uint64_t>(bucketsGpa + 16 * bucket, 0);
  }
  static uint64_t elementGpa(uint64_t number) { return 0x4000 + number * 0x100; }
  // Puts an element at the front of a bucket.
  void add(uint64_t bucket, uint64_t number, uint64_t ownerGpa, uint64_t value) {
    const uint64_t element = elementGpa(number), storage = element + 0x80, head = bucketsGpa + 16 * bucket;
    guest_.put<uint64_t>(element, guest_.kernel().read<uint64_t>(CraftedKernel::va(head)).value());
    guest_.point(head, element);
    guest_.point(element + 32, storage);
    guest_.point(storage + 16, ownerGpa);
    guest_.point(element + 64, mapGpa);
    guest_.put<uint64_t>(element + 72, value);
  }
  uint64_t task(uint64_t number, uint32_t pid, std::string_view comm) {
    guest_.put<uint32_t>(taskGpa + number * 0x40, pid);
    guest_.putBytes(taskGpa + number * 0x40 + 8, comm);
    return taskGpa + number * 0x40;
  }
  std::vector<std::string> owners() const {
    std::vector<std::string> shown;
    for (const auto& entry : entries("task_ctx").found) shown.push_back(valueAsJson(entry.owner.value()));
    return shown;
  }
};

TEST_F(LocalStorage, OfTasksInTheOrderOfTheirPids) {
  makeMap(BPF_MAP_TYPE_TASK_STORAGE);
  EXPECT_THAT(entries("task_ctx").found, IsEmpty());
  add(0, 0, task(0, 300, "late"), 33);
  add(1, 1, task(1, 20, "early"), 22);
  add(0, 2, task(2, 100, "between"), 11);
  const auto all = entries("task_ctx");
  EXPECT_EQ(all.problem, "");
  EXPECT_THAT(owners(), ElementsAre(R"({"pid":20,"comm":"early"})", R"({"pid":100,"comm":"between"})",
                                    R"({"pid":300,"comm":"late"})"));
  ASSERT_EQ(all.found.size(), 3u);
  ASSERT_EQ(all.found[1].values.size(), 1u);
  EXPECT_EQ(all.found[1].values[0].address, CraftedKernel::va(elementGpa(2) + 72));
  EXPECT_EQ(all.found[1].values[0].bytes.size(), 8u);
  EXPECT_EQ(word(all.found[1].values[0].bytes), 11u);
  EXPECT_THAT(entries("task_ctx", 2).problem, HasSubstr("more than 2 entries"));
}

TEST_F(LocalStorage, OfCgroupsAndOfSockets) {
  makeMap(cgroupStorageMapType);
  add(1, 0, cgroupGpa, 7);
  EXPECT_THAT(owners(), ElementsAre(R"("/workers")"));
  EXPECT_EQ(mapTypeName(cgroupStorageMapType), "cgrp_storage");
  guest_.put<uint64_t>(nodeGpa + 8, 0xdead'beef);
  EXPECT_THAT(owners(), ElementsAre(text('"', hex(CraftedKernel::va(cgroupGpa)), '"')));
  makeMap(BPF_MAP_TYPE_SK_STORAGE);
  add(1, 0, cgroupGpa, 7);
  EXPECT_THAT(owners(), ElementsAre(text('"', hex(CraftedKernel::va(cgroupGpa)), '"')));
}

TEST_F(LocalStorage, WithoutWhatIsJustBeingFreed) {
  makeMap(BPF_MAP_TYPE_TASK_STORAGE);
  for (const uint64_t number : {0u, 1u, 2u, 3u})
    add(0, number, task(number, static_cast<uint32_t>(number), "task"), number);
  guest_.put<uint64_t>(elementGpa(1) + 32, 0);         // of no storage any more
  guest_.put<uint64_t>(elementGpa(2) + 0x80 + 16, 0);  // the storage of nobody
  guest_.put<uint64_t>(elementGpa(3) + 64, 0x1000);    // of another map
  EXPECT_THAT(owners(), ElementsAre(R"({"pid":0,"comm":"task"})"));
}

TEST_F(LocalStorage, HostileTablesEnd) {
  makeMap(BPF_MAP_TYPE_TASK_STORAGE);
  add(0, 0, task(0, 1, "first"), 1), add(0, 1, task(1, 2, "second"), 2);
  guest_.point(elementGpa(0), elementGpa(1));
  EXPECT_THAT(entries("task_ctx").problem, HasSubstr("bucket 0: the list comes back"));
  EXPECT_EQ(entries("task_ctx").found.size(), 2u);
  for (const uint32_t log : {30u, 31u, 64u, ~0u}) {
    guest_.put<uint32_t>(mapGpa + 72, log);
    EXPECT_THAT(entries("task_ctx").problem, HasSubstr("table")) << log;
  }
  guest_.put<uint32_t>(mapGpa + 72, 1);
  guest_.put<uint64_t>(mapGpa + 64, 0xdead'beef'0000'0000);
  EXPECT_THAT(entries("task_ctx").problem, HasSubstr("not in memory"));
}

TEST_F(LocalStorage, OfAKernelWithoutItSaysSo) {
  CraftedKernel empty(0x1000);
  const auto layout = KernelLayout::fromText(text(walkLayout, bpfLayout)).value();
  BpfMap map;
  map.type = BPF_MAP_TYPE_TASK_STORAGE;
  EXPECT_THAT(readMapEntries(empty.kernel(), layout, map, 1).problem,
              HasSubstr("bpf_local_storage_map.buckets"));
}

}  // namespace
}  // namespace ktstr
