#include "guest/boot/boot_params.h"

#include <gtest/gtest.h>

#include "guest/boot/page_tables.h"
#include "guest/boot/test_bytes.h"

namespace ktstr {
namespace {

TEST(BootParams, carriesWhatTheKernelReads) {
  const std::vector<E820Entry> e820{{{0, 0x1000}, E820Type::ram}, {{5 * gib, 2 * mib}, E820Type::reserved}};
  const auto page = buildBootParams({.setupHeader = {},
                                     .e820 = e820,
                                     .initrd = {5 * gib - 4096, 0x12345},
                                     .rsdpGpa = 0x41000,
                                     .randomizeMemory = true});
  ASSERT_EQ(page.size(), 4096u);
  EXPECT_EQ(numberAt<uint64_t>(page, 0x70), 0x41000u);
  EXPECT_EQ(textAt(page, 0x202, 4), "HdrS");
  EXPECT_EQ(numberAt<uint8_t>(page, 0x210), 0xff);
  EXPECT_EQ(numberAt<uint8_t>(page, 0x211), 3);  // LOADED_HIGH | KASLR_FLAG
  EXPECT_EQ(numberAt<uint32_t>(page, 0x228), commandLineGpa);
  EXPECT_EQ(numberAt<uint32_t>(page, 0x218), 0x3ffff000u);  // ramdisk_image
  EXPECT_EQ(numberAt<uint32_t>(page, 0xc0), 1u);            // ext_ramdisk_image
  EXPECT_EQ(numberAt<uint32_t>(page, 0x21c), 0x12345u);
  EXPECT_EQ(numberAt<uint8_t>(page, 0x1ef), 0);  // sentinel
  EXPECT_EQ(numberAt<uint8_t>(page, 0x1e8), 2);
  EXPECT_EQ(numberAt<uint64_t>(page, 0x2d0 + 20), 5 * gib);
  EXPECT_EQ(numberAt<uint64_t>(page, 0x2d0 + 28), 2 * mib);
  EXPECT_EQ(numberAt<uint32_t>(page, 0x2d0 + 36), 2u);
}

TEST(BootParams, keepsABzImagesHeader) {
  std::vector<std::byte> header(0x100, std::byte{0});
  header[0x21c - 0x1f1] = std::byte{0x55};  // overwritten
  header[0x230 - 0x1f1] = std::byte{0x20};  // kernel_alignment, kept
  header[0x211 - 0x1f1] = std::byte{0x40};  // loadflags, added to
  const auto page = buildBootParams(
      {.setupHeader = header, .e820 = {}, .initrd = {}, .rsdpGpa = 0, .randomizeMemory = false});
  EXPECT_EQ(numberAt<uint32_t>(page, 0x21c), 0u);
  EXPECT_EQ(numberAt<uint32_t>(page, 0x230), 0x20u);
  EXPECT_EQ(numberAt<uint8_t>(page, 0x211), 0x41);
  EXPECT_EQ(numberAt<uint8_t>(page, 0x290), 0);  // a long header does not spill over
}

// A walk as the processor does it.
uint64_t translate(std::span<const std::byte> tables, uint64_t gpa, uint64_t address) {
  const auto entry = [&](uint64_t table, unsigned shift) {
    const auto value = numberAt<uint64_t>(tables, table - gpa + (address >> shift & 511) * 8);
    EXPECT_EQ(value & 3, 3u);
    return value;
  };
  const uint64_t directories = entry(gpa, 39) & ~uint64_t{0xfff};
  const uint64_t directory = entry(directories, 30) & ~uint64_t{0xfff};
  const uint64_t large = entry(directory, 21);
  EXPECT_NE(large & 0x80, 0u);
  return (large & ~uint64_t{0x1fffff}) | (address & 0x1fffff);
}

TEST(PageTables, mapFourGibibytesIdentically) {
  const std::vector<std::byte> tables = buildPageTables(pageTablesGpa);
  EXPECT_EQ(tables.size(), gdtGpa - pageTablesGpa);
  for (const uint64_t address :
       {uint64_t{0}, uint64_t{0x7000}, 0x38c0fa0ul, 2 * gib - 1, 3 * gib, 4 * gib - 1}) {
    EXPECT_EQ(translate(tables, pageTablesGpa, address), address);
  }
  EXPECT_EQ(numberAt<uint64_t>(tables, 0x1000 + 4 * 8), 0u);
}

TEST(PageTables, gdtHasCodeAndDataWhereBootProtocolWantsThem) {
  const std::vector<std::byte> gdt = buildGdt();
  EXPECT_EQ(numberAt<uint64_t>(gdt, 0), 0u);
  EXPECT_EQ(numberAt<uint64_t>(gdt, 0x10) >> 40 & 0xff, 0x9bu);  // present, code, readable
  EXPECT_EQ(numberAt<uint64_t>(gdt, 0x10) >> 53 & 3, 1u);        // L set, D clear
  EXPECT_EQ(numberAt<uint64_t>(gdt, 0x18) >> 40 & 0xff, 0x93u);
}

}  // namespace
}  // namespace ktstr
