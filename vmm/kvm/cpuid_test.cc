#include "vmm/kvm/cpuid.h"

#include <gtest/gtest.h>

namespace ktstr::vmm {
namespace {

CpuidEntry entry(uint32_t function, uint32_t index = 0, uint32_t eax = 0) {
  return {function, index, function == 0xb, eax, 0x11223344, 0x55667788, 0x99aabbcc};
}

// Two bits of thread, three more of core.
std::vector<CpuidEntry> table(uint32_t function) {
  return {entry(0xb, 0, 2), entry(0xb, 1, 5), entry(0xb, 2), entry(function)};
}

TEST(CpuidOf, PutsTheApicIdWhereItBelongs) {
  EXPECT_EQ(cpuidOf(table(1), 0x12345)[3].ebx, 0x45223344u);
  for (const uint32_t function : {0x1fu, 0x80000026u}) {
    const auto patched = cpuidOf(table(function), 0x12345);
    for (const CpuidEntry& each : patched) EXPECT_EQ(each.edx, 0x12345u) << function;
  }
}

TEST(CpuidOf, TellsAmdCoreAndNode) {
  const CpuidEntry patched = cpuidOf(table(0x8000001e), 7 << 5 | 3 << 2 | 1)[3];
  EXPECT_EQ(patched.eax, 7u << 5 | 3 << 2 | 1);
  EXPECT_EQ(patched.ebx, 0x11223303u);
  EXPECT_EQ(patched.ecx, 0x55667707u);
  EXPECT_EQ(patched.edx, 0x99aabbccu);
}

TEST(CpuidOf, LeavesTheRestAlone) {
  const CpuidEntry before = entry(7), after = cpuidOf(table(7), 0x12345)[3];
  EXPECT_EQ(before.eax, after.eax);
  EXPECT_EQ(before.ebx, after.ebx);
  EXPECT_EQ(before.ecx, after.ecx);
  EXPECT_EQ(before.edx, after.edx);
}

}  // namespace
}  // namespace ktstr::vmm
