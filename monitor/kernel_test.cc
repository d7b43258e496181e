#include "monitor/kernel.h"

#include <gtest/gtest.h>

#include "monitor/attach.h"
#include "monitor/test_kernel.h"

namespace ktstr {
namespace {

class KernelTest : public ::testing::Test {
 protected:
  KernelTest() {
    Attacher attacher(ram_, {}, {});
    attachment_ = attacher.attempt();
    EXPECT_TRUE(attachment_) << attacher.reason();
  }
  const GuestKernel& kernel() { return *attachment_->kernel; }
  test::TestKernel guest_;
  RamFile ram_ = guest_.ram();
  std::optional<Attachment> attachment_;
};

TEST_F(KernelTest, TranslatesImageAndDirectMap) {
  EXPECT_EQ(kernel().translate(guest_.symbolVa("_text") + 0x1234), guest_.symbolGpa("_text") + 0x1234);
  EXPECT_EQ(kernel().translate(guest_.direct(0x12'3456)), 0x12'3456u);
  EXPECT_FALSE(kernel().translate(guest_.direct(test::TestKernel::ramBytes)));
  EXPECT_FALSE(kernel().translate(0));
  EXPECT_FALSE(kernel().translate(0x1234'5678));
}

TEST_F(KernelTest, WalksPageTablesForWhatIsNeither) {
  // Map one vmalloc address to 0x123000 through tables at 0x1200000.
  const uint64_t va = 0xffd1'0000'4567'8000, tables = 0x120'0000;
  uint64_t table = guest_.symbolGpa("init_top_pgt");
  for (unsigned level = 5; level >= 1; --level) {
    const uint64_t next = level == 1 ? 0x12'3000 : tables + (5 - level) * 0x1000;
    guest_.put<uint64_t>(table + ((va >> (12 + 9 * (level - 1))) & 511) * 8, next | 0x63);
    table = next;
  }
  EXPECT_EQ(kernel().translate(va + 0xabc), 0x12'3abcu);
  EXPECT_FALSE(kernel().translate(va + 0x1000));
  guest_.put<uint64_t>(0x12'3ff8, 0x1122'3344'5566'7788);
  EXPECT_EQ(kernel().read<uint64_t>(va + 0xff8), 0x1122'3344'5566'7788u);
  EXPECT_EQ(kernel().at(va + 0xff8, 16), nullptr) << "the second page is not mapped";
}

TEST_F(KernelTest, ReadsStringsWithinBounds) {
  guest_.putText(0x20'0ff8, "across pages");
  EXPECT_EQ(kernel().string(guest_.direct(0x20'0ff8), 64), "across pages");
  EXPECT_FALSE(kernel().string(guest_.direct(0x20'0ff8), 5)) << "longer than the limit";
  guest_.putText(test::TestKernel::ramBytes - 3, "abc");
  EXPECT_FALSE(kernel().string(guest_.direct(test::TestKernel::ramBytes - 3), 64)) << "runs out of RAM";
}

TEST_F(KernelTest, PerCpuAddresses) {
  const auto runqueues = *kernel().symbol("runqueues");
  EXPECT_EQ(kernel().perCpu(runqueues, 2), guest_.direct(guest_.rqGpa(2)));
  EXPECT_FALSE(kernel().perCpu(runqueues, 4)) << "a zero offset would alias another CPU";
  EXPECT_FALSE(kernel().perCpu(runqueues, maxGuestCpus));
}

TEST_F(KernelTest, PossibleCpusAreBounded) {
  guest_.put<uint32_t>(guest_.symbolGpa("nr_cpu_ids"), 0xffff'ffff);
  EXPECT_LE(kernel().possibleCpus().size(), maxGuestCpus);
  guest_.put<uint32_t>(guest_.symbolGpa("nr_cpu_ids"), 3);
  guest_.put<uint64_t>(guest_.symbolGpa("__cpu_possible_mask"), 0b1101);
  EXPECT_EQ(kernel().possibleCpus(), (std::vector<uint32_t>{0, 2}));
}

}  // namespace
}  // namespace ktstr
