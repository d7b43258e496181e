#include "monitor/vmcoreinfo.h"

#include <gtest/gtest.h>

namespace ktstr {
namespace {

const std::string good =
    "OSRELEASE=7.3.4+deb13-cloud-amd64\nBUILD-ID=1fe9968467f2755292a45806719b9bba136b0cc8\nPAGESIZE=4096\n"
    "SYMBOL(swapper_pg_dir)=ffffffff9362a000\nSYMBOL(_stext)=ffffffff91600000\n"
    "NUMBER(VMALLOC_START)=0xff708d2140000000\nSYMBOL(kallsyms_names)=ffffffff9299f764\n"
    "SYMBOL(kallsyms_num_syms)=ffffffff9299f760\nSYMBOL(kallsyms_token_table)=ffffffff92cb1390\n"
    "SYMBOL(kallsyms_token_index)=ffffffff92cb17e8\nSYMBOL(kallsyms_offsets)=ffffffff92cb19e8\n"
    "NUMBER(phys_base)=-209715200\nNUMBER(pgtable_l5_enabled)=1\nKERNELOFFSET=10600000\n"
    "NUMBER(KERNEL_IMAGE_SIZE)=1073741824\n";

std::string without(std::string line) {
  std::string text = good;
  const auto at = text.find(line);
  return text.erase(at, text.find('\n', at) - at + 1);
}

TEST(Vmcoreinfo, ReadsWhatDebianWrites) {
  const auto result = parseVmcoreinfo(good + std::string(100, '\0') + "junk");
  ASSERT_TRUE(result.info) << result.problem;
  EXPECT_EQ(result.info->release, "7.3.4+deb13-cloud-amd64");
  EXPECT_EQ(result.info->buildId, "1fe9968467f2755292a45806719b9bba136b0cc8");
  EXPECT_EQ(result.info->slide, 0x10600000u);
  EXPECT_EQ(result.info->physBase, static_cast<uint64_t>(-209715200));
  EXPECT_EQ(result.info->swapperPgDir, 0xffffffff9362a000u);
  EXPECT_EQ(result.info->levels, 5u);
  EXPECT_EQ(result.info->imageSize, 1u << 30);
  EXPECT_EQ(result.info->kallsymsOffsets, 0xffffffff92cb19e8u);
  EXPECT_FALSE(result.info->kallsymsRelativeBase);
}

TEST(Vmcoreinfo, OptionalLines) {
  const auto result =
      parseVmcoreinfo(without("NUMBER(pgtable_l5") + "SYMBOL(kallsyms_relative_base)=ffffffff92000000\n");
  ASSERT_TRUE(result.info) << result.problem;
  EXPECT_FALSE(result.info->levels);
  EXPECT_EQ(result.info->kallsymsRelativeBase, 0xffffffff92000000u);
}

TEST(Vmcoreinfo, NamesWhatIsWrong) {
  EXPECT_EQ(parseVmcoreinfo(without("KERNELOFFSET")).problem, "no KERNELOFFSET");
  EXPECT_EQ(parseVmcoreinfo(without("SYMBOL(kallsyms_names)")).problem, "no SYMBOL(kallsyms_names)");
  EXPECT_EQ(parseVmcoreinfo("OSRELEASE=\n").problem, "no usable OSRELEASE");
  EXPECT_EQ(parseVmcoreinfo(without("KERNELOFFSET") + "KERNELOFFSET=123\n").problem,
            "KERNELOFFSET is not a multiple of the page size");
  EXPECT_EQ(parseVmcoreinfo(without("SYMBOL(_stext)") + "SYMBOL(_stext)=ffffffff91600000fff\n").problem,
            "SYMBOL(_stext) is not a number");
  EXPECT_FALSE(parseVmcoreinfo("").info);
  // A format string of the kernel itself, seen in memory of any guest.
  EXPECT_FALSE(parseVmcoreinfo("OSRELEASE=%s\n\0BUILD-ID=%20phN\n").info);
}

}  // namespace
}  // namespace ktstr
