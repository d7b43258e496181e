#include "kbuild/pack.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kbuild/extract.h"
#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/test_error.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

void writeFile(const fs::path& path, const std::string& content) {
  std::ofstream(path) << content;
}

TEST(Pack, WhatIsExtractedAgainIsTheSame) {
  const TestDirectory directory;
  const fs::path from = directory.make("from");
  fs::create_directories(from / "a/deep");
  writeFile(from / "a/deep/tool", "#!/bin/sh\n");
  fs::permissions(from / "a/deep/tool", fs::perms::all);
  writeFile(from / "a/empty", "");
  writeFile(from / "b", std::string(3'000'000, 'x'));
  writeFile(from / "left", "out");
  fs::create_symlink("a/deep/tool", from / "link");
  packTree(from, {"link", "a", "missing", "b"}, directory / "all.tar");

  const fs::path to = directory.make("to");
  const auto result = extractTree(openFile(directory / "all.tar", O_RDONLY).get(),
                                  {.directory = to, .wanted = {"a/", "b", "link", "left"}});
  EXPECT_EQ(result.files, 4u);
  EXPECT_EQ(readFile(to / "a/deep/tool"), "#!/bin/sh\n");
  EXPECT_NE(fs::status(to / "a/deep/tool").permissions() & fs::perms::owner_exec, fs::perms::none);
  EXPECT_TRUE(fs::is_empty(to / "a/empty"));
  EXPECT_EQ(fs::file_size(to / "b"), 3'000'000u);
  EXPECT_EQ(fs::read_symlink(to / "link"), "a/deep/tool");
  EXPECT_FALSE(fs::exists(to / "left"));
}

TEST(Pack, SaysWhereItCannotWrite) {
  const TestDirectory directory;
  const std::string from = directory.make("from");
  EXPECT_TRUE(
      errorOf([&] { packTree(from, {}, directory / "no/such/place.tar"); }).starts_with("write-failed"));
}

}  // namespace
}  // namespace ktstr::kbuild
