#include "kbuild/inputs.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "cache/sha256.h"
#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::kbuild {
namespace {

class InputsFound : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) {
    writeAll(openFile(directory_ / name, O_CREAT | O_WRONLY, 0644).get(), content);
    return directory_ / name;
  }
  std::string failure(const InputRequest& request) {
    try {
      findInputs(store_, request);
    } catch (const Error& error) {
      return error.name();
    }
    return "nothing-thrown";
  }

  TestDirectory directory_;
  cache::Store store_ = cache::Store::open(directory_ / "cache");
};

TEST_F(InputsFound, FilesGivenAreKnownByTheirContent) {
  const Inputs inputs =
      findInputs(store_, {"debian:7.3", file("linux.tar.xz", "archive"), file("vmlinux", "btf")});
  EXPECT_EQ(inputs.archive, directory_ / "linux.tar.xz");
  EXPECT_EQ(inputs.archiveDigest, cache::sha256Hex("archive"));
  EXPECT_EQ(inputs.btf, directory_ / "vmlinux");
  EXPECT_EQ(inputs.btfId, cache::sha256Hex("btf"));
}

TEST_F(InputsFound, AnArchiveOfTheCacheIsKnownByItsRecord) {
  const auto entry = store_.put("source", "linux-source-7.3",
                                [](cache::Draft& draft) { draft.write("linux.tar.xz", "archive"); });
  const Inputs inputs =
      findInputs(store_, {"debian:7.3", entry.path("linux.tar.xz"), file("vmlinux", "btf")});
  EXPECT_EQ(inputs.archiveDigest, entry.record().getFiles()[0].getSha256().cStr());
}

TEST_F(InputsFound, MissingFilesAreNamed) {
  EXPECT_EQ(failure({"debian:7.3", directory_ / "none", file("vmlinux", "btf")}), "open-failed");
  EXPECT_EQ(failure({"debian:7.3", file("linux.tar.xz", "archive"), directory_ / "none"}), "open-failed");
}

TEST_F(InputsFound, AKernelFileHasNoKnownSource) {
  EXPECT_EQ(failure({"./vmlinuz", "", file("vmlinux", "btf")}), "source-unknown");
}

}  // namespace
}  // namespace ktstr::kbuild
