#include "guest/boot/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/error.h"

namespace ktstr {
namespace {

using testing::ElementsAre;

constexpr uint64_t base = 3 * mib + 64 * kib;
constexpr uint64_t mailbox = 4 * mib;

std::vector<std::pair<rpc::MemoryKind, Range>> regionsOf(const MemoryPlan& plan) {
  std::vector<std::pair<rpc::MemoryKind, Range>> regions;
  for (const Region& region : plan.regions) regions.push_back({region.kind, {region.gpa, region.size}});
  return regions;
}

std::vector<std::pair<Range, E820Type>> e820Of(const MemoryPlan& plan) {
  std::vector<std::pair<Range, E820Type>> map;
  for (const E820Entry& entry : e820Map(plan, 2 * 4096)) map.push_back({entry.range, entry.type});
  return map;
}

std::vector<std::pair<uint32_t, Range>> nodesOf(const MemoryPlan& plan, const char* topology) {
  std::vector<std::pair<uint32_t, Range>> found;
  for (const NodeRange& piece : splitOverNodes(plan, parseTopology(topology))) {
    found.push_back({piece.node, piece.range});
  }
  return found;
}

template <typename Call>
std::string errorOf(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.name();
  }
  return "none";
}

TEST(MemoryPlan, smallMachineIsOneRunOfRam) {
  const MemoryPlan plan = planMemory(512 * mib, base, base - 5, mailbox);
  EXPECT_EQ(plan.ramBytes, 512 * mib);
  EXPECT_THAT(regionsOf(plan),
              ElementsAre(std::pair(rpc::MemoryKind::RAM, Range{0, 512 * mib}),
                          std::pair(rpc::MemoryKind::BASE, Range{512 * mib, base}),
                          std::pair(rpc::MemoryKind::MAILBOX, Range{512 * mib + base, mailbox})));
  EXPECT_EQ(plan.initrd, (Range{512 * mib - 4096, 4096 + base - 5}));
  EXPECT_THAT(e820Of(plan), ElementsAre(std::pair(Range{0, 0x40000}, E820Type::ram),
                                        std::pair(Range{0x40000, 0x1000}, E820Type::nvs),
                                        std::pair(Range{0x41000, 0x1000}, E820Type::acpi),
                                        std::pair(Range{0x42000, 0x5d000}, E820Type::ram),
                                        std::pair(Range{mib, 511 * mib + base}, E820Type::ram),
                                        std::pair(Range{512 * mib + base, mailbox}, E820Type::reserved)));
}

// Nobody may write there: under KVM it is a read-only slot.
TEST(MemoryPlan, whatIsBehindTheArchiveInTheBaseIsReserved) {
  const uint64_t length = base - 3 * 4096 - 5;
  const auto map = e820Of(planMemory(512 * mib, base, length, mailbox));
  EXPECT_EQ(map[4], std::pair(Range({mib, 511 * mib + base - 3 * 4096}), E820Type::ram));
  EXPECT_EQ(map[5], std::pair(Range({512 * mib + base - 3 * 4096, 3 * 4096 + mailbox}), E820Type::reserved));
}

TEST(MemoryPlan, roundsUpToTwoMebibytes) {
  EXPECT_EQ(planMemory(512 * mib + 1, base, base, mailbox).ramBytes, 514 * mib);
}

TEST(MemoryPlan, largeMachineGoesOnAboveFourGibibytes) {
  const MemoryPlan plan = planMemory(3 * gib, base, base, mailbox);
  EXPECT_THAT(regionsOf(plan),
              ElementsAre(std::pair(rpc::MemoryKind::RAM, Range{0, 2 * gib}),
                          std::pair(rpc::MemoryKind::RAM, Range{4 * gib, gib}),
                          std::pair(rpc::MemoryKind::BASE, Range{5 * gib, base}),
                          std::pair(rpc::MemoryKind::MAILBOX, Range{5 * gib + base, mailbox})));
  EXPECT_EQ(plan.regions[1].offset, 2 * gib);
  EXPECT_EQ(plan.initrd.gpa, 5 * gib - 4096);
  const auto map = e820Of(plan);
  EXPECT_EQ(map[4], std::pair(Range({mib, 2 * gib - mib}), E820Type::ram));
  EXPECT_EQ(map[5], std::pair(Range({4 * gib, gib + base}), E820Type::ram));
  EXPECT_EQ(map[6], std::pair(Range({5 * gib + base, mailbox}), E820Type::reserved));
}

TEST(MemoryPlan, initrdNeverStraddlesTheHole) {
  for (const uint64_t memory : {2 * gib - 2 * mib, 2 * gib, 2 * gib + 1}) {
    const MemoryPlan plan = planMemory(memory, base, base, mailbox);
    EXPECT_EQ(plan.ramBytes, 2 * gib + 2 * mib) << memory;
    EXPECT_EQ(plan.initrd.gpa + 4096, plan.regions[2].gpa);
    EXPECT_EQ(plan.regions[2].gpa, 4 * gib + 2 * mib);
  }
  EXPECT_EQ(planMemory(2 * gib - 8 * mib, base, base, mailbox).ramBytes, 2 * gib - 8 * mib);  // just fits
}

TEST(MemoryPlan, nodesShareEvenlyAndTheLastTakesTheRest) {
  const MemoryPlan plan = planMemory(256 * mib, base, base, mailbox);
  EXPECT_THAT(nodesOf(plan, "3n3l1c1t"),
              ElementsAre(std::pair(0u, Range{0, 84 * mib}), std::pair(1u, Range{84 * mib, 84 * mib}),
                          std::pair(2u, Range{168 * mib, 88 * mib + base + mailbox})));
}

TEST(MemoryPlan, declaredNodesHaveWhatTheyDeclare) {
  EXPECT_THAT(nodesOf(planMemory(300 * mib, base, base, mailbox), "1l42M,1l256M,0l2M,1c1t"),
              ElementsAre(std::pair(0u, Range{0, 42 * mib}), std::pair(1u, Range{42 * mib, 256 * mib}),
                          std::pair(2u, Range{298 * mib, 2 * mib + base + mailbox})));
  EXPECT_THAT(
      nodesOf(planMemory(3 * gib, base, base, mailbox), "1l2048M,1l1024M,1c1t"),
      ElementsAre(std::pair(0u, Range{0, 2 * gib}), std::pair(1u, Range{4 * gib, gib + base + mailbox})));
  EXPECT_THAT(nodesOf(planMemory(3 * gib, base, base, mailbox), "1l2560M,1l512M,1c1t"),
              ElementsAre(std::pair(0u, Range{0, 2 * gib}), std::pair(0u, Range{4 * gib, 512 * mib}),
                          std::pair(1u, Range{4 * gib + 512 * mib, 512 * mib + base + mailbox})));
}

TEST(MemoryPlan, theLastNodeTakesWhatKeepsTheInitrdOffTheHole) {
  EXPECT_THAT(nodesOf(planMemory(2 * gib - 2 * mib, base, base, mailbox), "1l1024M,1l1022M,1c1t"),
              ElementsAre(std::pair(0u, Range{0, gib}), std::pair(1u, Range{gib, gib}),
                          std::pair(1u, Range{4 * gib, 2 * mib + base + mailbox})));
}

TEST(MemoryPlan, refusesWhatCannotBe) {
  EXPECT_EQ(errorOf([] { planMemory(255 * mib, base, base, mailbox); }), "memory-too-small");
  EXPECT_EQ(errorOf([] { planMemory(0, base, base, mailbox); }), "memory-too-small");
  EXPECT_EQ(errorOf([] { planMemory(UINT64_MAX, base, base, mailbox); }), "boot-request-invalid");
  EXPECT_EQ(errorOf([] { planMemory(gib, base + 4096, base, mailbox); }), "boot-request-invalid");
  EXPECT_EQ(errorOf([] { planMemory(gib, 0, 0, mailbox); }), "boot-request-invalid");
  EXPECT_EQ(errorOf([] { planMemory(gib, base, base + 1, mailbox); }), "boot-request-invalid");
  EXPECT_EQ(errorOf([] { planMemory(gib, base, base, 4096); }), "boot-request-invalid");
}

}  // namespace
}  // namespace ktstr
