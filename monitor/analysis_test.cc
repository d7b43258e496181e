#include "monitor/analysis.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "monitor/test_kernel.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr {
namespace {

class AnalysisTest : public ::testing::Test {
 protected:
  AnalysisTest() {
    SymbolStorage storage;
    storage.nameOffsets.push_back(0);
    const std::pair<std::string_view, uint64_t> symbols[] = {{"_text", kernelMapBase},
                                                             {"scx_root", kernelMapBase + 64}};
    for (const auto& [name, address] : symbols) {
      storage.addresses.push_back(address);
      storage.types.push_back('D');
      storage.names.insert(storage.names.end(), name.begin(), name.end());
      storage.nameOffsets.push_back(static_cast<uint32_t>(storage.names.size()));
    }
    EXPECT_TRUE(storage.index());
    Analysis::Facts facts{"abcd", "7.3.4", "Linux version 7.3.4 (x)\n", 1234,
                          KernelLayout::fromBtf(BtfTypes(test::makeBtf()))};
    Analysis(std::move(storage), std::move(facts)).write(file_.get());
  }
  Analysis load() { return Analysis::load(Mapping(file_.get(), 0, fileSize(file_.get()), PROT_READ)); }
  std::string refusal() {
    try {
      load();
    } catch (const Error& error) {
      return error.name();
    }
    return "accepted";
  }
  Fd file_ = makeMemfd("analysis", 0);
};

TEST_F(AnalysisTest, RoundTrips) {
  const Analysis analysis = load();
  EXPECT_EQ(analysis.symbols().size(), 2u);
  EXPECT_EQ(analysis.symbols().find("scx_root"), kernelMapBase + 64);
  EXPECT_EQ(analysis.facts().buildId, "abcd");
  EXPECT_EQ(analysis.facts().release, "7.3.4");
  EXPECT_EQ(analysis.facts().banner, "Linux version 7.3.4 (x)\n");
  EXPECT_EQ(analysis.facts().btfBytes, 1234u);
  EXPECT_EQ(analysis.layout().toText(), KernelLayout::fromBtf(BtfTypes(test::makeBtf())).toText());
}

TEST_F(AnalysisTest, EveryDamagedByteIsNoticed) {
  const uint64_t size = fileSize(file_.get());
  for (uint64_t at = 0; at < size; ++at) {
    char original;
    ASSERT_EQ(pread(file_.get(), &original, 1, static_cast<off_t>(at)), 1);
    const char damaged = static_cast<char>(original ^ 0x10);
    ASSERT_EQ(pwrite(file_.get(), &damaged, 1, static_cast<off_t>(at)), 1);
    ASSERT_NE(refusal(), "accepted") << "byte " << at;
    ASSERT_EQ(pwrite(file_.get(), &original, 1, static_cast<off_t>(at)), 1);
  }
  EXPECT_EQ(refusal(), "accepted");
}

TEST_F(AnalysisTest, TruncationIsNoticed) {
  ASSERT_EQ(ftruncate(file_.get(), static_cast<off_t>(fileSize(file_.get()) - 8)), 0);
  EXPECT_EQ(refusal(), "analysis-invalid");
  ASSERT_EQ(ftruncate(file_.get(), 40), 0);
  EXPECT_EQ(refusal(), "analysis-invalid");
}

TEST(AnalysisKey, NamesTheFormat) {
  const auto key = Analysis::storeKey("1fe996");
  EXPECT_EQ(key.size(), 14u);
  EXPECT_EQ(key.substr(0, 6), "1fe996");
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(key, Analysis::storeKey("1fe996"));
}

}  // namespace
}  // namespace ktstr
