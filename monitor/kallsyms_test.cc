#include "monitor/kallsyms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/test_kernel.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using test::EncodedKallsyms;
using test::encodeKallsyms;
using test::KallsymsEncoding;

constexpr uint64_t slide = 0x1060'0000, base = 0xffff'ffff'8100'0000 + slide, place = base + 0x10'0000;

std::vector<std::pair<std::string, uint64_t>> someSymbols(bool absolute) {
  std::vector<std::pair<std::string, uint64_t>> symbols;
  if (absolute) symbols = {{"fixed_percpu_data", 0}, {"runqueues", 0x2'8000}};
  symbols.insert(symbols.end(), {{"_text", base}, {"_stext", base}, {"scx_root", base + 0x1234}});
  for (unsigned i = 0; i < 1000; ++i) symbols.emplace_back(text("filler_", i), base + 0x2000 + 8 * i);
  symbols.emplace_back(std::string(400, 'x'), base + 0x10'0000);
  symbols.emplace_back("__key.0", base + 0x20'0000);
  symbols.emplace_back("__key.0", base + 0x20'0010);
  return symbols;
}

class Source {
 public:
  Source(KallsymsEncoding encoding, const std::vector<std::pair<std::string, uint64_t>>& symbols)
      : parts(encodeKallsyms(symbols, encoding, place, base)) {
    if (encoding != KallsymsEncoding::placeRelative) relativeBase = base;
  }
  KallsymsSource view() const {
    return {parts.count, parts.names, parts.tokenTable, parts.tokenIndex, parts.offsets, place, relativeBase,
            base,        slide};
  }
  EncodedKallsyms parts;
  std::optional<uint64_t> relativeBase;
};

class KallsymsEncodings : public ::testing::TestWithParam<KallsymsEncoding> {};

TEST_P(KallsymsEncodings, DecodesNamesAndAddresses) {
  const bool absolute = GetParam() == KallsymsEncoding::absolutePerCpu;
  const auto expected = someSymbols(absolute);
  const Source source(GetParam(), expected);
  const auto storage = decodeKallsyms(source.view());
  const SymbolTable table(storage.arrays());
  ASSERT_EQ(table.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(table.name(i), expected[i].first);
    EXPECT_EQ(table.address(i),
              expected[i].second >= kernelMapBase ? expected[i].second - slide : expected[i].second);
    EXPECT_EQ(storage.types[i], 'D');
  }
  EXPECT_EQ(table.find("scx_root"), base - slide + 0x1234);
  EXPECT_EQ(table.find("__key.0"), base - slide + 0x20'0000) << "the first of several";
  EXPECT_EQ(table.find("filler_999"), base - slide + 0x2000 + 8 * 999);
  EXPECT_FALSE(table.find("filler_1000"));
  EXPECT_FALSE(table.find(""));
  const auto nearest = table.nearest(base - slide + 0x1240);
  ASSERT_TRUE(nearest);
  EXPECT_EQ(nearest->name, "scx_root");
  EXPECT_EQ(nearest->offset, 0xcu);
}

INSTANTIATE_TEST_SUITE_P(All, KallsymsEncodings,
                         ::testing::Values(KallsymsEncoding::placeRelative, KallsymsEncoding::baseRelative,
                                           KallsymsEncoding::absolutePerCpu));

std::string refusal(const KallsymsSource& source) {
  try {
    decodeKallsyms(source);
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "kallsyms-invalid");
    return error.message();
  }
  return "accepted";
}

TEST(Kallsyms, NamesWhatDoesNotFit) {
  const Source source(KallsymsEncoding::placeRelative, someSymbols(false));
  const auto good = source.view();
  EXPECT_EQ(refusal(good), "accepted");

  auto bad = good;
  bad.count = 0;
  EXPECT_THAT(refusal(bad), ::testing::HasSubstr("kallsyms_num_syms is 0"));
  bad.count = 0xffff'ffff;
  EXPECT_THAT(refusal(bad), ::testing::HasSubstr("kallsyms_num_syms is 4294967295"));
  bad = good;
  bad.names = bad.names.first(bad.names.size() - 1);
  EXPECT_THAT(refusal(bad), ::testing::HasSubstr("the names are cut off at symbol"));
  bad = good;
  bad.offsets = bad.offsets.first(100);
  EXPECT_EQ(refusal(bad), "the offsets are cut off");
  bad = good;
  bad.tokenTable = bad.tokenTable.first(10);
  EXPECT_THAT(refusal(bad), ::testing::HasSubstr("is outside the token table"));
  bad = good;
  bad.tokenIndex = bad.tokenIndex.first(511);
  EXPECT_EQ(refusal(bad), "the token index is cut off");
  bad = good;
  bad.stext += 16;
  EXPECT_THAT(refusal(bad), ::testing::HasSubstr("VMCOREINFO says"));
}

TEST(Kallsyms, RefusesNamesOfSeveralKilobytesAndDisorder) {
  auto symbols = someSymbols(false);
  symbols.emplace_back(std::string(600, 'y'), base + 0x30'0000);
  EXPECT_THAT(refusal(Source(KallsymsEncoding::placeRelative, symbols).view()),
              ::testing::HasSubstr("is too long"));
  symbols.back() = {"late", base + 8};
  EXPECT_THAT(refusal(Source(KallsymsEncoding::placeRelative, symbols).view()),
              ::testing::HasSubstr("comes after one at"));
}

}  // namespace
}  // namespace ktstr
