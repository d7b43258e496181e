#include "cache/kernel_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "cache/test_images.h"

namespace ktstr::cache {
namespace {

using test::bytesOf;
using test::errorName;
using testing::HasSubstr;

std::string asText(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

template <typename T>
std::string with(std::string image, size_t offset, T value) {
  memcpy(image.data() + offset, &value, sizeof value);
  return image;
}

class Payload : public testing::TestWithParam<Compression> {};

TEST_P(Payload, IsExtracted) {
  const std::string vmlinux = test::makeVmlinux();
  const std::string image = test::makeBzImage(test::compressPayload(GetParam(), vmlinux));
  EXPECT_EQ(payloadCompression(bytesOf(image)), nameOf(GetParam()));
  EXPECT_EQ(asText(extractVmlinux(bytesOf(image))), vmlinux);
}

TEST_P(Payload, CutShortOrDamagedIsNamed) {
  std::string payload = test::compressPayload(GetParam(), test::makeVmlinux());
  const std::string half = test::makeBzImage(payload.substr(0, payload.size() / 2));
  EXPECT_EQ(errorName([&] { extractVmlinux(bytesOf(half)); }), "kernel-payload-corrupt");
  memset(payload.data() + payload.size() / 2, 0xa5, 40);
  const std::string damaged = test::makeBzImage(payload);
  EXPECT_EQ(errorName([&] { extractVmlinux(bytesOf(damaged)); }), "kernel-payload-corrupt");
}

TEST_P(Payload, IsLimited) {
  const std::string bomb = test::compressPayload(GetParam(), std::string(size_t{3} << 20, 'x'));
  EXPECT_EQ(errorName([&] { decompress(GetParam(), bytesOf(bomb), size_t{2} << 20); }),
            "kernel-payload-corrupt");
  EXPECT_EQ(decompress(GetParam(), bytesOf(bomb), size_t{4} << 20).size(), size_t{3} << 20);
}

INSTANTIATE_TEST_SUITE_P(All, Payload,
                         testing::Values(Compression::gzip, Compression::xz, Compression::lz4,
                                         Compression::zstd),
                         [](const auto& item) { return std::string(nameOf(item.param)); });

TEST(BzImage, HeaderFields) {
  const std::string image = test::makeBzImage();
  ASSERT_TRUE(isBzImage(bytesOf(image)));
  EXPECT_FALSE(isElf(bytesOf(image)));
  const SetupHeader header = parseSetupHeader(bytesOf(image));
  EXPECT_EQ(header.version, 0x020f);
  EXPECT_EQ(header.setupSectors, 1);
  EXPECT_EQ(header.protectedModeOffset, 1024U);
  EXPECT_EQ(header.payloadOffset, 0x40U);
  EXPECT_EQ(header.payloadLength, image.size() - 1024 - 0x40);
  EXPECT_EQ(header.kernelAlignment, 0x200000U);
  EXPECT_TRUE(header.relocatable);
  EXPECT_EQ(header.xloadflags, 0x7f);
  EXPECT_EQ(header.commandLineSize, 2047U);
  EXPECT_EQ(header.initrdAddressMax, 0x7fffffffU);
  EXPECT_EQ(header.preferredAddress, 0x1000000U);
  EXPECT_EQ(header.initSize, 0x3000000U);
  EXPECT_EQ(header.kernelVersion, "9.9.1-test (somebody) #1");
  EXPECT_EQ(header.raw.size(), 0x26cU - 0x1f1);
}

TEST(BzImage, BadHeadersAreNamed) {
  const std::string image = test::makeBzImage();
  const auto name = [](const std::string& bad) { return errorName([&] { extractVmlinux(bytesOf(bad)); }); };
  EXPECT_EQ(name(""), "kernel-image-truncated");
  EXPECT_EQ(name(image.substr(0, 0x250)), "kernel-image-truncated");
  EXPECT_EQ(name(image.substr(0, image.size() - 1)), "kernel-image-truncated");
  EXPECT_EQ(name(std::string(4096, 'x')), "kernel-image-invalid");
  EXPECT_EQ(name(with<uint16_t>(image, 0x206, 0x0204)), "kernel-image-invalid");
  EXPECT_EQ(name(with<uint8_t>(image, 0x201, 0x10)), "kernel-image-invalid");
  EXPECT_EQ(name(with<uint32_t>(image, 0x248, 0xffffffff)), "kernel-image-truncated");
  EXPECT_EQ(name(with<uint32_t>(image, 0x24c, 0)), "kernel-image-invalid");
  EXPECT_EQ(name(test::makeBzImage("BZh91AY&SY...")), "kernel-image-invalid");
  EXPECT_EQ(name(test::makeBzImage(test::compressPayload(Compression::zstd, "no ELF"))),
            "kernel-payload-corrupt");
}

TEST(KernelElf, Parts) {
  const std::string image = test::makeVmlinux();
  const KernelElf elf = parseKernelElf(bytesOf(image));
  EXPECT_EQ(elf.entry, 0x1000040U);
  ASSERT_EQ(elf.segments.size(), 1U);
  EXPECT_EQ(elf.segments[0].paddr, 0x1000000U);
  EXPECT_EQ(elf.segments[0].vaddr, 0xffffffff81000000U);
  EXPECT_EQ(elf.segments[0].filesz, 128U);
  EXPECT_EQ(elf.segments[0].memsz, 4096U);
  EXPECT_EQ(elf.buildId, test::testBuildId);
  ASSERT_TRUE(elf.btf);
  EXPECT_TRUE(hasSchedExt(*elf.btf));
  EXPECT_EQ(findRelease(bytesOf(image)), "9.9.1-test");
}

TEST(KernelElf, WithoutBtfSchedExtOrBuildId) {
  const std::string bare = test::makeVmlinux({.btf = false, .buildId = false});
  EXPECT_FALSE(parseKernelElf(bytesOf(bare)).btf);
  EXPECT_FALSE(parseKernelElf(bytesOf(bare)).buildId);
  const std::string old = test::makeVmlinux({.schedExt = false});
  EXPECT_FALSE(hasSchedExt(*parseKernelElf(bytesOf(old)).btf));
  EXPECT_EQ(errorName([] { hasSchedExt(bytesOf("no BTF at all, but long enough")); }), "kernel-btf-invalid");
}

TEST(KernelElf, BadFilesAreNamed) {
  const std::string image = test::makeVmlinux();
  const auto name = [](const std::string& bad) { return errorName([&] { parseKernelElf(bytesOf(bad)); }); };
  EXPECT_EQ(name("MZ"), "kernel-image-invalid");
  EXPECT_EQ(name(image.substr(0, 40)), "kernel-image-truncated");
  EXPECT_EQ(name(image.substr(0, image.size() - 1)), "kernel-image-truncated");
  EXPECT_EQ(name(test::makeVmlinux({.machine = 183})), "kernel-wrong-architecture");
  EXPECT_EQ(name(with<uint8_t>(image, 4, 1)), "kernel-wrong-architecture");
  EXPECT_EQ(name(with<uint16_t>(image, 54, 32)), "kernel-image-invalid");   // e_phentsize
  const size_t load = 64;                                                   // first program header
  EXPECT_EQ(name(with<uint32_t>(image, load, 0)), "kernel-image-invalid");  // no PT_LOAD
  EXPECT_EQ(name(with<uint64_t>(image, load + 8, 0xfffffffffffffff0)), "kernel-image-truncated");
  EXPECT_EQ(name(with<uint64_t>(image, load + 40, 1)), "kernel-image-invalid");  // memsz < filesz
  EXPECT_EQ(name(with<uint64_t>(image, load + 24, 0xfffffffffffffff0)), "kernel-image-invalid");  // wraps
}

TEST(KernelElf, ErrorsTellWhereAndHowMuch) {
  const std::string image = test::makeVmlinux();
  try {
    parseKernelElf(bytesOf(with<uint64_t>(image, 64 + 8, 0x123456)));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("segment 0 at 0x123456 has 128 bytes, the file ends at "));
  }
}

}  // namespace
}  // namespace ktstr::cache
