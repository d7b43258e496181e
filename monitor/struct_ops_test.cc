// What a struct_ops map gives the kernel.
#include "monitor/struct_ops.h"

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
using ::testing::Pair;

constexpr uint64_t mapGpa = 0x3000, linksGpa = 0x4000, userGpa = 0x4200, btfGpa = 0x4400, programGpa = 0x5000,
                   kernelGpa = mapGpa + 128, functionAt = 72, numberAt = 80;
constexpr uint64_t trampoline = 0xffff'ffff'c000'1000;

class StructOps : public ::testing::Test, protected CraftedBpf {
 protected:
  // A value of 64 bytes and then a function, whose program has the id 12, and a number, which is 12, too.
  StructOps() : CraftedBpf({}, structOpsLayout) {
    map(1, mapGpa, "qmap_ops", BPF_MAP_TYPE_STRUCT_OPS, 4, 88, 1);
    guest_.put<uint32_t>(mapGpa + 60, 77);
    guest_.point(mapGpa + 64, userGpa);
    guest_.point(mapGpa + 72, linksGpa);
    guest_.put<uint32_t>(mapGpa + 80, 1);
    guest_.point(mapGpa + 88, btfGpa);
    guest_.point(linksGpa, linksGpa + 0x80);
    guest_.point(linksGpa + 0x80 + 24, programGpa);
    guest_.point(programGpa + 8, programGpa + 0x80);
    guest_.put<uint32_t>(programGpa + 0x80, 12);
    guest_.putBytes(programGpa + 0x88, "qmap_cpuctl_set");
    guest_.put<uint64_t>(userGpa + functionAt, 12);
    guest_.put<uint64_t>(userGpa + numberAt, 12);
    guest_.put<uint64_t>(kernelGpa + functionAt, trampoline);
    guest_.put<uint64_t>(kernelGpa + numberAt, 12);
  }
  BpfMap map() const { return findMap(objects().maps().found, "qmap_ops"); }
  using CraftedBpf::map;
  KernelFields fields() const { return {guest_.kernel(), layout_}; }
};

TEST_F(StructOps, HasItsValueAsTheKernelUsesIt) {
  const auto all = entries("qmap_ops");
  EXPECT_EQ(all.problem, "");
  ASSERT_EQ(all.found.size(), 1u);
  EXPECT_EQ(word(all.found[0].key), 0u);
  ASSERT_EQ(all.found[0].values.size(), 1u);
  const auto& bytes = all.found[0].values[0].bytes;
  ASSERT_EQ(bytes.size(), 88u);
  EXPECT_EQ(loadGuest<uint64_t>(bytes.data() + functionAt), trampoline);
  EXPECT_THAT(all.found[0].functions, ElementsAre(Pair(trampoline, "qmap_cpuctl_set"))) << "a number is none";
  EXPECT_EQ(map().valueType, 77u) << "in the kernel's types";
}

TEST_F(StructOps, TakesTheWholeNameFromTheSymbol) {
  const auto name = [&](std::string_view symbol) {
    guest_.putBytes(programGpa + 0xc0, std::string(symbol) + '\0');
    return entries("qmap_ops").found.at(0).functions[trampoline];
  };
  EXPECT_EQ(name("bpf_prog_0123456789abcdef_qmap_cpuctl_set_weight"), "qmap_cpuctl_set_weight");
  EXPECT_EQ(name("bpf_prog_0123456789abcdef"), "qmap_cpuctl_set");
  EXPECT_EQ(name("bpf_prog_0123456789abcdef_other"), "qmap_cpuctl_set");
}

TEST_F(StructOps, ThatLeadsAstrayHasNoNames) {
  guest_.put<uint64_t>(mapGpa + 64, 0xdead'beef'0000'0000);
  EXPECT_THAT(entries("qmap_ops").found.at(0).functions, IsEmpty());
  guest_.point(mapGpa + 64, userGpa);
  guest_.put<uint64_t>(linksGpa, 8);
  EXPECT_THAT(entries("qmap_ops").found.at(0).functions, IsEmpty());
  guest_.put<uint32_t>(mapGpa + 12, 0xffff'fff8);
  EXPECT_THAT(entries("qmap_ops").problem, HasSubstr("more than 32 MiB"));
}

TEST_F(StructOps, SaysWhyItHasNoTypes) {
  EXPECT_EQ(readStructOpsTypes(fields(), map()).problem, "the kernel has no BTF");
  guest_.put<uint64_t>(btfGpa + 16, 8);
  EXPECT_EQ(readStructOpsTypes(fields(), map()).problem, "its types are a module's");
}

}  // namespace
}  // namespace ktstr
