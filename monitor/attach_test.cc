#include "monitor/attach.h"
#include "protocol/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "monitor/test_kernel.h"
#include "protocol/test_huge_pages.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::KallsymsEncoding;
using test::KernelOptions;
using test::TestKernel;

// The analysis of a kernel as a later attach gets it: through its stored form.
Analysis storedAnalysis(TestKernel& kernel) {
  const auto ram = kernel.ram();
  Attacher attacher(ram, {}, {});
  const auto attachment = attacher.attempt();
  EXPECT_TRUE(attachment) << attacher.reason();
  const Fd file = makeMemfd("analysis", 0);
  attachment->analysis->write(file.get());
  return Analysis::load(Mapping(file.get(), 0, fileSize(file.get()), PROT_READ));
}

struct Variant {
  KallsymsEncoding encoding;
  unsigned levels;
  uint64_t slide;
};
class AttachVariants : public ::testing::TestWithParam<Variant> {};

TEST_P(AttachVariants, ColdFromVmcoreinfo) {
  KernelOptions options;
  options.encoding = GetParam().encoding;
  options.levels = GetParam().levels;
  options.slide = GetParam().slide;
  TestKernel kernel(options);
  const auto ram = kernel.ram();
  Attacher attacher(ram, {}, {});
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  EXPECT_FALSE(attachment->cached);
  EXPECT_EQ(attachment->kernel->place().slide, options.slide);
  EXPECT_EQ(attachment->kernel->place().tables.levels, options.levels);
  EXPECT_EQ(attachment->kernel->place().physBase, kernel.physBase());
  EXPECT_EQ(attachment->kernel->pageOffset(), kernel.direct(0));
  EXPECT_EQ(attachment->kernel->symbol("scx_root"), kernel.symbolVa("scx_root"));
  EXPECT_EQ(attachment->kernel->translate(kernel.symbolVa("scx_root")), kernel.symbolGpa("scx_root"));
  EXPECT_EQ(attachment->analysis->symbols().find("scx_root"), kernel.linkAddress("scx_root"));
  EXPECT_EQ(attachment->kernel->possibleCpus(), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(attachment->analysis->facts().banner, kernel.banner());
}

INSTANTIATE_TEST_SUITE_P(All, AttachVariants,
                         ::testing::Values(Variant{KallsymsEncoding::placeRelative, 5, 0x1060'0000},
                                           Variant{KallsymsEncoding::placeRelative, 4, 0},
                                           Variant{KallsymsEncoding::baseRelative, 5, 0x20'0000},
                                           Variant{KallsymsEncoding::baseRelative, 4,
                                                   0x3c00'0000 - 0x200'0000},
                                           Variant{KallsymsEncoding::absolutePerCpu, 4, 0x1060'0000}));

TEST(Attach, KnownKernelWithAnotherSlideBeforeVmcoreinfo) {
  TestKernel first;
  const Analysis analysis = storedAnalysis(first);
  KernelOptions options;
  options.vmcoreinfo = false;
  options.slide = 0x2480'0000;
  options.textGpa = 0x1e0'0000;
  TestKernel second(options);
  const auto ram = second.ram();
  Attacher attacher(ram, storedAnalysis(first), {});
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  EXPECT_TRUE(attachment->cached);
  EXPECT_EQ(attachment->btfMicros, 0u);
  EXPECT_EQ(attachment->kernel->place().slide, options.slide);
  EXPECT_EQ(attachment->kernel->symbol("jiffies_64"), second.symbolVa("jiffies_64"));
}

TEST(Attach, AsksForAnAnalysisOnceTheBuildIdIsKnown) {
  TestKernel kernel;
  const auto ram = kernel.ram();
  std::vector<std::string> asked;
  Attacher attacher(ram, {}, [&](const std::string& buildId) {
    asked.push_back(buildId);
    return std::optional(storedAnalysis(kernel));
  });
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  EXPECT_TRUE(attachment->cached);
  EXPECT_THAT(asked, ::testing::ElementsAre(KernelOptions().buildId));
}

TEST(Attach, AnalysisOfAnotherBuildIsNotUsed) {
  KernelOptions options;
  options.release = "6.18.15-other";
  options.buildId = "0123";
  TestKernel other(options), kernel;
  const auto ram = kernel.ram();
  Attacher attacher(ram, storedAnalysis(other),
                    [&](const std::string&) { return std::optional(storedAnalysis(other)); });
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  EXPECT_FALSE(attachment->cached);
  EXPECT_EQ(attachment->analysis->facts().release, "7.3.4-test");
}

TEST(Attach, WaitsForTheSchedulerToBeUp) {
  TestKernel kernel;
  const auto ram = kernel.ram();
  kernel.put<uint64_t>(kernel.rqGpa(0) + test::offsets::rqCurr, 0);
  Attacher attacher(ram, {}, {});
  EXPECT_FALSE(attacher.attempt());
  EXPECT_THAT(attacher.reason(), ::testing::HasSubstr("scheduler is not up yet"));
  kernel.put<uint64_t>(kernel.rqGpa(0) + test::offsets::rqCurr, kernel.direct(kernel.taskGpa(0)));
  const auto attachment = attacher.attempt();
  ASSERT_TRUE(attachment) << attacher.reason();
  EXPECT_FALSE(attachment->cached) << "its analysis was made here";
}

TEST(Attach, FindsVmcoreinfoInItsElfNoteAndPastOldCopies) {
  TestKernel kernel;
  const auto bytes = kernel.bytes();
  const auto info = bytes.subspan(TestKernel::vmcoreinfoGpa, 4096);
  // An old copy, earlier in memory, with another slide.
  std::string old(reinterpret_cast<const char*>(info.data()), 4000);
  old.replace(old.find("KERNELOFFSET=10600000"), 21, "KERNELOFFSET=10800000");
  old.replace(old.find("NUMBER(phys_base)=-"), 19, "NUMBER(phys_base)= ");
  kernel.putText(0x20'0000, old);
  std::copy(info.begin(), info.begin() + 4000, bytes.begin() + 0x38'0018);
  std::fill(info.begin(), info.end(), std::byte{});
  const auto ram = kernel.ram();
  Attacher attacher(ram, {}, {});
  EXPECT_TRUE(attacher.attempt()) << attacher.reason();
}

TEST(Attach, RamOfHugePagesIsLookedThroughInPlaceRangeByRange) {
  TestKernel kernel;
  const HugePagePool pool(TestKernel::ramBytes >> 21);
  if (pool.free() < TestKernel::ramBytes >> 21) GTEST_SKIP() << "no huge pages here, and none can be made";
  const Fd file(memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB));
  ASSERT_EQ(ftruncate(file.get(), TestKernel::ramBytes), 0);
  const Mapping huge(file.get(), 0, TestKernel::ramBytes, PROT_READ | PROT_WRITE);
  std::copy(kernel.bytes().begin(), kernel.bytes().end(), huge.data());
  constexpr uint64_t tail = uint64_t{2} << 20, split = TestKernel::ramBytes - tail, high = uint64_t{1} << 32;
  const RamFile ram(file.duplicate(), {{0, split, 0}, {high, tail, split}});
  uint64_t next = 0;
  const std::byte* behind = nullptr;
  ram.scan([&](uint64_t gpa, std::span<const std::byte> bytes) {
    if (next == split) next = high, behind = nullptr;
    EXPECT_EQ(gpa, next);
    EXPECT_TRUE(behind == nullptr || bytes.data() == behind) << "a copy";
    next = gpa + bytes.size();
    behind = bytes.data() + bytes.size();
    return true;
  });
  EXPECT_EQ(next, high + tail);
  const RamFile whole(file.duplicate(), modelRamLayout(TestKernel::ramBytes));
  Attacher attacher(whole, {}, {});
  EXPECT_TRUE(attacher.attempt()) << attacher.reason();
}

class AttachRefusals : public ::testing::Test {
 protected:
  std::string reason() {
    const auto ram = kernel_.ram();
    Attacher attacher(ram, {}, {});
    EXPECT_FALSE(attacher.attempt());
    return attacher.reason();
  }
  TestKernel kernel_;
};

TEST_F(AttachRefusals, PageTablesThatDoNotMapTheText) {
  kernel_.put<uint64_t>(kernel_.symbolGpa("init_top_pgt") + 511 * 8, 0);
  EXPECT_EQ(reason(), "the page tables that VMCOREINFO names do not map _stext");
}

TEST_F(AttachRefusals, AnotherBanner) {
  kernel_.putText(kernel_.symbolGpa("linux_banner"), "Linux version 9.9.9 (x)\n");
  EXPECT_THAT(reason(), ::testing::HasSubstr("banner-mismatch"));
}

TEST_F(AttachRefusals, DamagedKallsyms) {
  kernel_.put<uint32_t>(kernel_.symbolGpa("kallsyms_num_syms"), 4'000'000);
  EXPECT_THAT(reason(), ::testing::HasSubstr("kallsyms-invalid: kallsyms_num_syms is 4000000"));
}

TEST_F(AttachRefusals, DamagedBtf) {
  kernel_.put<uint64_t>(kernel_.symbolGpa("__start_BTF"), 0);
  EXPECT_THAT(reason(), ::testing::HasSubstr("btf-invalid"));
}

TEST(Attach, KernelWithoutBtfIsNamed) {
  KernelOptions options;
  options.btf = false;
  TestKernel kernel(options);
  const auto ram = kernel.ram();
  Attacher attacher(ram, {}, {});
  EXPECT_FALSE(attacher.attempt());
  EXPECT_EQ(attacher.reason(), "btf-missing: the kernel has no BTF");
}

TEST(Attach, EmptyMemory) {
  const RamFile ram(makeMemfd("empty", TestKernel::ramBytes), modelRamLayout(TestKernel::ramBytes));
  Attacher attacher(ram, {}, {});
  EXPECT_FALSE(attacher.attempt());
  EXPECT_EQ(attacher.reason(), "no VMCOREINFO in guest memory");
}

// Hostile memory: the parts that the monitor believes are overwritten with pseudo-random bytes, one region at
// a time.
TEST(Attach, RandomDamageEndsWithAReasonOrAnAttachment) {
  uint64_t random = 42;
  const auto next = [&] {
    random = random * 6364136223846793005 + 1442695040888963407;
    return random >> 24;
  };
  unsigned refused = 0;
  for (unsigned round = 0; round < 200; ++round) {
    TestKernel kernel;
    const char* const places[] = {
        "init_top_pgt",         "kallsyms_names", "kallsyms_token_table", "kallsyms_offsets",
        "kallsyms_token_index", "__start_BTF",    "__per_cpu_offset",     "phys_base",
        "kallsyms_num_syms",    "nr_cpu_ids"};
    const uint64_t begin =
        round % 11 == 10 ? TestKernel::vmcoreinfoGpa + 300 : kernel.symbolGpa(places[round % 11]);
    const uint64_t length = 1 + next() % (round % 2 ? 8 : 4096);
    for (uint64_t i = 0; i < length; ++i)
      kernel.put<uint8_t>(begin + next() % 4096 % (length * 2), static_cast<uint8_t>(next()));
    const auto ram = kernel.ram();
    Attacher attacher(ram, {}, {});
    if (!attacher.attempt()) {
      ++refused;
      EXPECT_FALSE(attacher.reason().empty());
    }
  }
  EXPECT_GT(refused, 20u);
}

// VMCOREINFO in every page, each naming page tables that point at themselves.
TEST(Attach, ManyFalseVmcoreinfosAreBounded) {
  TestKernel kernel;
  const auto bytes = kernel.bytes();
  std::string info(reinterpret_cast<const char*>(bytes.data()) + TestKernel::vmcoreinfoGpa, 2000);
  info.replace(info.find("SYMBOL(_stext)="), 31, "SYMBOL(_stext)=ffffffff9160500f");
  for (uint64_t gpa = 0; gpa < 0xa0'0000; gpa += 4096) kernel.putText(gpa, info);
  const uint64_t top = kernel.symbolGpa("init_top_pgt");
  for (unsigned i = 0; i < 512; ++i) kernel.put<uint64_t>(top + 8 * i, top | 0x63);
  const auto ram = kernel.ram();
  Attacher attacher(ram, {}, {});
  EXPECT_FALSE(attacher.attempt());
  EXPECT_EQ(attacher.reason(), "the page tables that VMCOREINFO names do not map _stext");
}

}  // namespace
}  // namespace ktstr
