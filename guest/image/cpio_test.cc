#include "guest/image/cpio.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lz4.h>
#include <sys/stat.h>

#include <cstring>

#include "guest/image/initramfs.h"
#include "guest/image/lz4_legacy.h"
#include "guest/image/test_cpio.h"
#include "guest/image/test_files.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/process.h"

namespace ktstr {
namespace {

std::span<const std::byte> asBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::vector<std::byte> exampleArchive() {
  CpioWriter cpio;
  cpio.directory("/a", 0755);
  cpio.file("/a/odd", 0644, asBytes("12345"));
  cpio.symlink("/link", "/a/odd");
  cpio.characterDevice("/console", 0600, 5, 1);
  cpio.file("/empty", 0755, {});
  return cpio.finish();
}

TEST(Cpio, writesEveryKindOfMember) {
  const std::vector<CpioMember> members = readCpio(exampleArchive());
  ASSERT_EQ(members.size(), 5u);
  EXPECT_EQ(members[0].name, "a");
  EXPECT_EQ(members[0].mode, S_IFDIR | 0755u);
  EXPECT_EQ(members[1].name, "a/odd");
  EXPECT_EQ(members[1].mode, S_IFREG | 0644u);
  EXPECT_EQ(members[1].content, "12345");
  EXPECT_EQ(members[2].mode, S_IFLNK | 0777u);
  EXPECT_EQ(members[2].content, "/a/odd");
  EXPECT_EQ(members[3].mode, S_IFCHR | 0600u);
  EXPECT_EQ(members[3].major, 5u);
  EXPECT_EQ(members[3].minor, 1u);
  EXPECT_EQ(members[4].content, "");
}

TEST(Cpio, equalInputMakesEqualBytes) {
  EXPECT_EQ(exampleArchive(), exampleArchive());
}

TEST(Cpio, cpioReadsIt) {
  const std::optional<std::string> tool = findProgram("cpio");
  if (!tool) GTEST_SKIP() << "no cpio on this machine";
  const Fd archive = makeMemfd("archive", 0);
  writeAll(archive.get(), exampleArchive());
  lseek(archive.get(), 0, SEEK_SET);
  const Fd list = makeMemfd("list", 0);
  SpawnOptions options;
  options.executable = *tool;
  options.arguments = {"-it", "--quiet"};
  options.standardInput = archive.get();
  options.standardOutput = list.get();
  EXPECT_EQ(spawn(options).wait(), 0);
  EXPECT_EQ(readAll(list.get()), "a\na/odd\nlink\nconsole\nempty\n");
}

TEST(Suffix, isSmallAndNamesTheRun) {
  const std::vector<std::byte> suffix = makeSuffix("run-7");
  EXPECT_LE(suffix.size(), 1024u);
  const std::vector<CpioMember> members = readCpio(suffix);
  ASSERT_EQ(members.size(), 2u);
  EXPECT_EQ(members[0].name, "ktstr");
  EXPECT_EQ(members[1].name, "ktstr/run");
  EXPECT_EQ(members[1].content, "run-7");
  EXPECT_LE(makeSuffix(std::string(512, 'x')).size(), 1024u);
  EXPECT_THROW(makeSuffix(std::string(513, 'x')), Error);
}

TEST(Lz4Legacy, roundTripsOverSeveralBlocks) {
  std::string content;
  for (uint64_t i = 0; content.size() < (20u << 20); i++) content += std::to_string(i * 7919);
  const std::vector<std::byte> frame = compressLz4Legacy(asBytes(content));
  EXPECT_LT(frame.size(), content.size());
  EXPECT_TRUE(unpackLz4Legacy(frame) == content);
}

TEST(Lz4Legacy, survivesWhatDoesNotCompress) {
  std::string content(100'000, '\0');
  uint32_t state = 1;
  for (char& c : content) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  EXPECT_TRUE(unpackLz4Legacy(compressLz4Legacy(asBytes(content))) == content);
  EXPECT_EQ(compressLz4Legacy({}).size(), 4u);
}

}  // namespace
}  // namespace ktstr
