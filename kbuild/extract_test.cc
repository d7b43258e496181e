#include "kbuild/extract.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Extract : public ::testing::Test {
 protected:
  ExtractResult extract(const std::vector<Member>& members) {
    writeArchive(directory_ / "archive", members);
    return extractFile();
  }
  ExtractResult extractFile() {
    fs::remove_all(tree_);
    fs::create_directory(tree_);
    request_.directory = tree_;
    return extractTree(openFile(directory_ / "archive", O_RDONLY).get(), request_);
  }
  Error failure(const std::vector<Member>& members) {
    try {
      extract(members);
    } catch (const Error& error) {
      return error;
    }
    return Error(ExitCode::pass, "nothing-thrown", "");
  }
  std::string content(const std::string& name) { return readFile(tree_ + "/" + name); }

  TestDirectory directory_;
  std::string tree_ = directory_ / "tree";
  ExtractRequest request_{.wanted = {"tools/", "Makefile"}, .unwanted = {"tools/perf/"}};
};

TEST_F(Extract, TakesWhatIsWantedWithoutTheTopDirectory) {
  const auto result = extract({{"linux-7.3/", "", AE_IFDIR},
                               {"linux-7.3/Makefile", "all:\n"},
                               {"linux-7.3/Makefile.not", "x"},
                               {"linux-7.3/drivers/a.c", "x"},
                               {"linux-7.3/tools/", "", AE_IFDIR},
                               {"linux-7.3/tools/run.sh", "#!/bin/sh\n", AE_IFREG, "", 0777},
                               {"linux-7.3/tools/perf/p.c", "x"},
                               {"./linux-7.3/tools/deep/er/a.c", "int a;"}});
  EXPECT_EQ(result.files, 3u);
  EXPECT_EQ(result.bytes, 5u + 10u + 6u);
  EXPECT_EQ(content("Makefile"), "all:\n");
  EXPECT_EQ(content("tools/deep/er/a.c"), "int a;");
  EXPECT_FALSE(fs::exists(tree_ + "/tools/perf"));
  EXPECT_FALSE(fs::exists(tree_ + "/drivers"));
  EXPECT_FALSE(fs::exists(tree_ + "/Makefile.not"));
}

TEST_F(Extract, ReducesModes) {
  const mode_t before = umask(022);
  extract({{"l/tools/set", "x", AE_IFREG, "", 06777}, {"l/tools/plain", "x", AE_IFREG, "", 0666}});
  umask(before);
  struct stat status {};
  ASSERT_EQ(stat((tree_ + "/tools/set").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);
  ASSERT_EQ(stat((tree_ + "/tools/plain").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0644u);
}

TEST_F(Extract, KeepsLinksThatStayInside) {
  const auto result = extract({{"l/tools/a/x", "content"},
                               {"l/tools/b/up", "", AE_IFLNK, "../a/x"},
                               {"l/tools/top", "", AE_IFLNK, "../tools/a"},
                               {"l/tools/hard", "", AE_IFREG, "l/tools/a/x"}});
  EXPECT_EQ(result.files, 4u);
  EXPECT_EQ(content("tools/b/up"), "content");
  EXPECT_EQ(content("tools/top/x"), "content");
  EXPECT_EQ(content("tools/hard"), "content");
}

TEST_F(Extract, RefusesEveryWayOut) {
  const std::vector<std::vector<Member>> attempts{
      {{"/etc/passwd", "x"}},
      {{"l/../../escape", "x"}},
      {{"l/tools/../../escape", "x"}},
      {{"../escape", "x"}},
      {{"l/drivers/../../escape", "x"}},  // not even wanted
      {{"l/tools/abs", "", AE_IFLNK, "/etc/passwd"}},
      {{"l/tools/out", "", AE_IFLNK, "../../escape"}},
      {{"l/tools/out", "", AE_IFLNK, "a/../../../escape"}},
      {{"l/tools/back", "", AE_IFLNK, "a/../b"}},
      {{"l/tools/hard", "", AE_IFREG, "/etc/passwd"}},
      {{"l/tools/hard", "", AE_IFREG, "l/../../escape"}},
      {{"l/tools/hard", "", AE_IFREG, "l/tools/nowhere"}},
      {{"l/tools/device", "", AE_IFCHR}},
      {{"l/tools/fifo", "", AE_IFIFO}},
      {{"l/tools/d", "", AE_IFDIR}, {"l/tools/link", "", AE_IFLNK, "d"}, {"l/tools/link/file", "x"}},
      {{"l/tools/file", "x"}, {"l/tools/file/below", "x"}},
      {{"l/tools/twice", "1"}, {"l/tools/twice", "2"}},
      {{"l/tools/f", "1"}, {"l/tools/link", "", AE_IFLNK, "f"}, {"l/tools/link", "2"}},
  };
  for (const auto& members : attempts) {
    const Error error = failure(members);
    EXPECT_EQ(error.name(), "archive-unsafe") << members.back().name << " -> " << members.back().link;
    EXPECT_THAT(error.message(), HasSubstr(members.back().name));
    EXPECT_FALSE(fs::exists(directory_ / "escape"));
  }
}

TEST_F(Extract, IsBounded) {
  request_.maxBytes = 1000;
  EXPECT_EQ(failure({{"l/tools/a", std::string(600, 'a')}, {"l/tools/b", std::string(600, 'b')}}).name(),
            "archive-too-large");
  EXPECT_EQ(failure({{"l/tools/a", std::string(600, 'a')}, {"l/drivers/b", std::string(600, 'b')}}).name(),
            "nothing-thrown");
  request_.maxFiles = 2;
  EXPECT_EQ(failure({{"l/tools/a", ""}, {"l/tools/b", ""}, {"l/tools/c", ""}}).name(), "archive-too-large");
}

TEST_F(Extract, SaysWhereAnArchiveIsCorrupt) {
  writeArchive(directory_ / "archive", {{"l/tools/a", std::string(100'000, 'a')}});
  fs::resize_file(directory_ / "archive", fs::file_size(directory_ / "archive") / 2);
  try {
    extractFile();
    FAIL() << "a cut archive was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "archive-corrupt");
    EXPECT_NE(error.message(), "");
  }
}

TEST_F(Extract, CanBeGivenUp) {
  struct GivenUp {};
  request_.onProgress = [] { throw GivenUp(); };
  EXPECT_THROW(extract({{"l/tools/a", "x"}}), GivenUp);
}

}  // namespace
}  // namespace ktstr::kbuild
