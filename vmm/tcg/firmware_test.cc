#include "vmm/tcg/firmware.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "protocol/fd.h"
#include "protocol/file.h"

namespace ktstr::vmm {
namespace {

TEST(Firmware, ImageHasItsPartsWhereTheyAreLookedFor) {
  const auto rom = romImage();
  ASSERT_EQ(rom.size(), kRomSize);
  EXPECT_EQ(memcmp(rom.data() + kRomParameters, "ktstrROM", 8), 0);
  // The reset vector is a near jump (e9 rel16) to the code, which begins with cli (fa).
  ASSERT_EQ(rom[kRomResetVector], std::byte{0xe9});
  uint16_t distance;
  memcpy(&distance, rom.data() + kRomResetVector + 1, 2);
  EXPECT_EQ((kRomResetVector + 3 + distance) & 0xffff, kRomCode);
  EXPECT_EQ(rom[kRomCode], std::byte{0xfa});
}

TEST(Firmware, BootStateGoesIntoTheParameterBlock) {
  const Fd file = makeMemfd("rom", kRomSize);
  writeRom(
      file.get(),
      {.rip = 0x1000000, .rsi = 0x7000, .rsp = 0x6ff8, .cr3 = 0x9000, .gdtGpa = 0xf000, .gdtLimit = 0x1f});
  const std::string rom = readAll(file.get());
  ASSERT_EQ(rom.size(), kRomSize);
  const auto number = [&](size_t at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, rom.data() + kRomParameters + at, size);
    return value;
  };
  EXPECT_EQ(number(8, 8), 0x1000000u);
  EXPECT_EQ(number(16, 8), 0x7000u);
  EXPECT_EQ(number(24, 8), 0x6ff8u);
  EXPECT_EQ(number(32, 8), 0x9000u);
  EXPECT_EQ(number(40, 2), 0x1fu);
  EXPECT_EQ(number(42, 8), 0xf000u);
}

}  // namespace
}  // namespace ktstr::vmm
