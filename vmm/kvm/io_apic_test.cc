#include "vmm/kvm/io_apic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "protocol/test_error.h"

namespace ktstr::vmm {
namespace {

using testing::HasSubstr;

constexpr uint64_t select = 0, window = 0x10;

class IoApicTest : public testing::Test {
 protected:
  uint32_t get(uint32_t number) {
    apic_.write(select, number);
    return apic_.read(window);
  }
  void set(uint32_t number, uint32_t value) {
    apic_.write(select, number);
    apic_.write(window, value);
  }
  IoApic apic_{-1};  // no VM: telling KVM of a route fails
};

TEST_F(IoApicTest, SaysWhatItIsAndBeginsMasked) {
  EXPECT_EQ(get(0), 0u);
  EXPECT_EQ(get(1), 0x00170011u) << "24 lines, version 0x11: without an EOI register";
  EXPECT_EQ(get(2), 0u);
  for (uint32_t number = 0x10; number < 0x40; ++number)
    EXPECT_EQ(get(number), number % 2 == 0 ? 0x10000u : 0u) << number;
  EXPECT_EQ(get(0x40), 0u);
  EXPECT_EQ(get(0xff), 0u);
}

TEST_F(IoApicTest, KeepsWhatAMaskedEntrySaysButForReadOnlyAndReservedBits) {
  set(0x16, 0x1ffff);
  set(0x17, 0xabcdef01);
  EXPECT_EQ(get(0x16), 0x1afffu);
  EXPECT_EQ(get(0x17), 0xabcc0000u);
  EXPECT_EQ(get(0x14), 0x10000u);
  EXPECT_EQ(get(0x18), 0x10000u);
  EXPECT_EQ(apic_.read(select), 0x18u);
}

TEST_F(IoApicTest, IgnoresWhatIsNoRegister) {
  set(0, 0x0f000000);
  set(1, 0xffffffff);
  set(0x40, 0);
  set(0xff, 0);
  apic_.write(0x40, 0x23);
  apic_.write(0xfff, 0x23);
  EXPECT_EQ(get(0), 0u);
  EXPECT_EQ(get(1), 0x00170011u);
  EXPECT_EQ(apic_.read(0x20), 0u);
}

TEST_F(IoApicTest, TellsKvmOnlyWhatChangesWhereALineLeads) {
  set(0x16, 0x10023);  // masked
  set(0x17, 44u << 24);
  EXPECT_THAT(errorOf([&] { set(0x16, 0x23); }),
              HasSubstr("kvm-failed: kSetGsiRouting: Bad file descriptor"));
  EXPECT_EQ(errorOf([&] { set(0x16, 0x1023); }), "no error") << "a read-only bit alone";
  EXPECT_EQ(errorOf([&] { set(0x17, 44u << 24 | 1); }), "no error") << "a reserved bit alone";
  EXPECT_THAT(errorOf([&] { set(0x17, 45u << 24); }), HasSubstr("kvm-failed"));
  EXPECT_THAT(errorOf([&] { set(0x16, 0x10023); }), HasSubstr("kvm-failed"));
  EXPECT_EQ(errorOf([&] { set(0x17, 46u << 24); }), "no error");
}

TEST(IoApicRoutes, AreMessagesAsKvmTakesThem) {
  constexpr uint64_t masked = 0x10000;
  uint64_t entries[kIoApicLines] = {
      masked | 0x20, uint64_t{7} << 56 | 0x31, masked,
      uint64_t{0x2c} << 56 | uint64_t{1} << 49 | 0x0923,      // 300, logical, lowest
      uint64_t{0xff} << 56 | uint64_t{0x7f} << 49 | 0xa0ef};  // 32767, level
  std::fill(entries + 5, std::end(entries), masked);
  const GsiRoutes routes = IoApic::routesOf(entries);
  ASSERT_EQ(routes.count, 3u);
  for (unsigned i = 0; i < 3; ++i)
    EXPECT_EQ(routes.entries[i].type, static_cast<uint32_t>(KVM_IRQ_ROUTING_MSI));
  EXPECT_EQ(routes.entries[0].gsi, 1u);
  EXPECT_EQ(routes.entries[0].u.msi.address_lo, 0xfee07000u);
  EXPECT_EQ(routes.entries[0].u.msi.address_hi, 0u);
  EXPECT_EQ(routes.entries[0].u.msi.data, 0x31u);
  EXPECT_EQ(routes.entries[1].gsi, 3u);
  EXPECT_EQ(routes.entries[1].u.msi.address_lo, 0xfee2c004u);
  EXPECT_EQ(routes.entries[1].u.msi.address_hi, 0x100u);
  EXPECT_EQ(routes.entries[1].u.msi.data, 0x123u);
  EXPECT_EQ(routes.entries[2].gsi, 4u);
  EXPECT_EQ(routes.entries[2].u.msi.address_lo, 0xfeeff000u);
  EXPECT_EQ(routes.entries[2].u.msi.address_hi, 0x7f00u);
  EXPECT_EQ(routes.entries[2].u.msi.data, 0x80efu) << "polarity is the line's own";
}

}  // namespace
}  // namespace ktstr::vmm
